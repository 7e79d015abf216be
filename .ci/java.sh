#!/bin/sh
# Find what the tests with real nodes need. Prints "ok", or one line for a person that says what is
# missing and what to do.

fix='install a JDK 17 or later and Maven (Debian, Ubuntu: apt install default-jdk-headless maven; Fedora: dnf install java-17-openjdk-devel maven)'
for tool in java javac mvn; do
    command -v "$tool" >/dev/null || { echo "no $tool here: $fix"; exit 0; }
done
# "17.0.15", "21", "1.8.0_392"
version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
if [ "${version:-0}" -ge 17 ]; then echo ok; else echo "Java ${version:-?} is too old: $fix"; fi
