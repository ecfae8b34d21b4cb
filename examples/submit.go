// Submits an image and waits for its answer: go run submit.go captcha.png
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

// Task is what we need of a task.
type Task struct {
	ID, Status string
	Answer     *struct{ Text string }
	Error      *struct{ Code, Message string }
}

var client = http.Client{Timeout: 90 * time.Second} // longer than the wait

func call(method, path string, body []byte) (task Task, err error) {
	server := os.Getenv("PINGBOX_SERVER")
	if server == "" {
		server = "http://127.0.0.1:8081"
	}
	request, err := http.NewRequest(method, server+path, bytes.NewReader(body))
	if err != nil {
		return task, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("PINGBOX_TOKEN")) // not needed as long as no token was made
	request.Header.Set("Content-Type", "application/json")
	reply, err := client.Do(request)
	if err != nil {
		return task, err
	}
	defer reply.Body.Close()
	if reply.StatusCode >= 400 {
		problem, _ := io.ReadAll(reply.Body) // problem+json: code, detail, errors
		return task, fmt.Errorf("%s: %s", reply.Status, problem)
	}
	return task, json.NewDecoder(reply.Body).Decode(&task)
}

func main() {
	image, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	body, _ := json.Marshal(map[string]any{"type": "image", "body": image}) // a []byte becomes base64
	task, err := call("POST", "/v1/tasks?wait=60", body)
	for err == nil && task.Answer == nil && task.Error == nil && task.Status != "cancelled" {
		task, err = call("GET", "/v1/tasks/"+task.ID+"?wait=60", nil)
	}
	if err != nil || task.Answer == nil {
		log.Fatal(task.Status, task.Error, err)
	}
	fmt.Println(task.Answer.Text)
}
