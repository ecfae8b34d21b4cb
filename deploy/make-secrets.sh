#!/bin/sh
# Makes the secrets that compose.yaml names, in the folder that .env calls SECRETS_DIR. What is there stays as it is.
#
#   ./make-secrets.sh /etc/pingbox/secrets
set -eu

folder=${1:?name the folder for the secrets, outside of the repository}
umask 077
mkdir -p "$folder"
# Nobody else gets in here, so the files can be open to the users of the containers.
chmod 0700 "$folder"

# keep NAME: the file NAME from standard input, unless there is one.
keep() {
    if [ -s "$folder/$1" ]; then
        cat >/dev/null
        echo "$1: is there"
    else
        cat >"$folder/$1.new"
        chmod 0444 "$folder/$1.new"
        mv -f "$folder/$1.new" "$folder/$1"
        echo "$1: made"
    fi
}

openssl rand -hex 16 | keep pingback-secret
openssl rand -hex 16 | keep api-token
openssl rand -hex 24 | keep database-password
printf 'postgres://pingbox:%s@postgres:5432/pingbox?sslmode=disable\n' "$(cat "$folder/database-password")" |
    keep database-url

if [ -s "$folder/provider-key" ]; then
    echo "provider-key: is there"
else
    printf 'The API key of your account at the provider (32 characters): '
    read -r key
    printf '%s\n' "$key" | keep provider-key
fi
