#!/bin/sh
# Makes what the examples name: a certificate for idp.example.com and localhost, and random secrets, to try them with.
#   sh conf/test-files.sh [FOLDER]      FOLDER: where the configuration is, by default that of this script
# What is there already stays. No browser trusts the certificate: for clients get a real one.
set -eu
cd "${1:-$(dirname "$0")}"
umask 077
mkdir -p tls

certificate() { # NAME: tls/NAME.crt and tls/NAME.key, its own authority
    [ -e "tls/$1.crt" ] && [ -e "tls/$1.key" ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=idp.example.com \
        -addext "subjectAltName=DNS:idp.example.com,DNS:localhost,IP:127.0.0.1" \
        -keyout "tls/$1.key" -out "tls/$1.crt" 2>/dev/null
}

certificate idp
certificate mcmp
# In place of the authorities that signed the nodes' certificates.
for name in inner-ca nodes-ca wso2; do
    [ -e "tls/$name.crt" ] || cp tls/mcmp.crt "tls/$name.crt"
done
for name in affinity.key agents.token ajp.secret token; do
    [ -e "$name" ] || openssl rand -hex 32 >"$name"
done
