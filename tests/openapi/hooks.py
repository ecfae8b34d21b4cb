"""What schemathesis has to know of pingbox beside /openapi.json: values that make sense, and rules between fields."""

import base64
import itertools
import pathlib
import re

import schemathesis
from hypothesis import strategies as st
from jsonschema_rs import validator_for

DATA = pathlib.Path(__file__).parents[1] / "data"
IMAGES = [(DATA / name).read_bytes() for name in ("captcha-01-x7k2p.png", "captcha-06-p9fs3.jpg", "captcha-10-n8wcu.gif")]
INSTRUCTION = (DATA / "instruction-stars.png").read_bytes()
# Nothing listens there. Whatever URL a test gives pingbox, what pingbox sends stays on this machine.
NOWHERE = "http://127.0.0.1:9"
URL_FIELDS = ("url", "webhook_url", "pingback", "addr")

# Parameters of a list of tasks that go together, and with no other.
WAITING = {"ids", "wait", "until"}

numbers = itertools.count()


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


def text(image):
    return base64.b64encode(image).decode()


schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
schemathesis.openapi.format("image-base64", st.sampled_from([text(image) for image in IMAGES]))
for name in ("uri", "url"):
    schemathesis.openapi.format(name, st.from_regex(NOWHERE.replace(".", r"\.") + "/[a-z0-9]{0,8}", fullmatch=True))
schemathesis.openapi.format("proxy", st.sampled_from(["192.0.2.1:3128", "login:password@proxy.example:8080"]))
schemathesis.openapi.format("webhook-secret", st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + text(key)))



@schemathesis.hook
def before_load_schema(context, raw_schema):
    # Files are given as base64 text, which pingbox takes too: the tool's own type for files is not one that it can check.
    def walk(value):
        if isinstance(value, dict):
            if value.get("format") == "binary":
                value["format"] = "image-base64"
            for field in value.values():
                walk(field)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(raw_schema)


@schemathesis.hook
def before_call(context, case, kwargs):
    serial = next(numbers)
    body, query, headers = case.body, case.query, case.headers
    if isinstance(body, dict) and body.get("imginstructions"):
        body["imginstructions"] = text(INSTRUCTION)
    for values in (body, query):
        for name in URL_FIELDS if isinstance(values, dict) else ():
            if isinstance(values.get(name), str) and re.match("https?://", values[name]):
                values[name] = f"{NOWHERE}/{serial}"
    # Either some tasks by name, or a page of all: what is given of both is refused.
    if case.path == "/v1/tasks" and case.method == "GET" and is_positive(case):
        kept = WAITING if serial % 2 else set(query) - WAITING
        for name in set(query) - kept:
            del query[name]
    # Most do not wait: there are too many of them.
    if serial % 100:
        if query and re.fullmatch("[0-9]+", str(query.get("wait"))):
            query["wait"] = 0
        if headers and headers.get("Prefer", "").startswith("wait="):
            headers["Prefer"] = "wait=0"
    # One key is for one captcha.
    if headers and re.fullmatch("[!-~]{1,200}", str(headers.get("Idempotency-Key") or "")):
        headers["Idempotency-Key"] += f"-{serial}"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    body, query = case.body, case.query or {}
    kind = type(failure).__name__
    if kind == "AcceptedNegativeData":
        # A parameter or header that is empty is not given.
        if "" in [*query.values(), *(case.headers or {}).values()]:
            return False
        # Text may be a number, a number text, as in a form; and null or an empty value is not given.
        return not (isinstance(body, dict) and reads_as_valid(case, body))
    if kind == "RejectedPositiveData":
        if case.path == "/v1/tasks" and case.method == "GET":
            given = set(query)
            return not (given - WAITING if "ids" in given else given & WAITING)
        return not (isinstance(body, dict) and breaks_a_rule(body))
    return True


def breaks_a_rule(body):
    """The rules between fields that JSON Schema has no words for; /openapi.json tells them in words."""
    if number(body.get("max_len")) and number(body.get("min_len")) > number(body.get("max_len")):
        return True
    return number(body.get("recaptcharows")) * number(body.get("recaptchacols")) > 16


def number(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def reads_as_valid(case, body):
    """Whether a body is valid once each value is read as what its field should be."""
    document = case.operation.schema.raw_schema
    described = document["paths"][case.path][case.method.lower()]["requestBody"]["content"][case.media_type]["schema"]
    names = described.get("discriminator", {}).get("mapping", {})
    if names:
        name = names.get(body.get("type"))
        described = document["components"]["schemas"][name.rsplit("/", 1)[1]] if name else described

    def is_valid(schema, value):
        if isinstance(schema, bool):
            return schema
        return validator_for({**schema, "components": document["components"]}).is_valid(value)

    read = {}
    for name, value in body.items():
        field = described.get("properties", {}).get(name, described.get("additionalProperties", True))
        if value not in (None, "", []):
            read[name] = next((reading for reading in readings(value) if is_valid(field, reading)), value)
    return is_valid(described, read)


def readings(value):
    """What pingbox may read a value as."""
    yield value
    if isinstance(value, (bool, int, float)):
        yield str(int(value)) if isinstance(value, bool) else str(value)
        yield int(value)
    elif isinstance(value, str):
        yield value.strip().upper()
        yield {"true": 1, "false": 0}.get(value.strip(), number(value))
