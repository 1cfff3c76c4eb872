#!/bin/bash
# Installs the MQTT clients that the tests drive beside Mosquitto's own, each apart from the others in
# .clients. What is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "clients: $*" >&2; }

# need PROGRAM…: what mosquitto-test/install.sh was to install.
need() {
  local program
  for program; do
    command -v "$program" >/dev/null || { say "$program is missing: run mosquitto-test/install.sh"; exit 1; }
  done
}

# fetched NAME INSTALLER PACKAGE…: has INSTALLER fill .clients/NAME, unless it did with these packages.
# A folder that was left half filled has no list of them, and is made anew.
fetched() {
  local folder=.clients/$1 installer=$2
  shift 2
  [[ "$(cat "$folder/packages" 2>/dev/null)" == "$*" ]] && return
  say "installing $*"
  rm -rf "$folder"
  mkdir -p "$folder"
  "$installer" "$folder" "$@" || { say "$* cannot be installed"; exit 1; }
  echo "$*" > "$folder/packages"
}

by_pip() {
  local folder=$1
  shift
  python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# Neither what a package expects beside it is installed, nor a program of its own run.
by_npm() {
  local folder=$1
  shift
  npm install --prefix "$folder" --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
    --legacy-peer-deps --ignore-scripts "$@" >/dev/null
}

# compiled CLIENT JARS: the program of a Java client. To start it from its source would take seconds.
compiled() {
  local source=mosquitto-test/clients/$1/Client.java classes=.clients/$1/classes
  [[ $classes/Client.class -nt $source ]] && return
  say "compiling $source"
  javac -cp "$2" -d "$classes" "$source"
}

need python3 node npm java javac
fetched paho by_pip 'paho-mqtt>=2.1,<3'
fetched mqttjs by_npm 'mqtt@5'
# It wants paho-mqtt 1.6, so it lives apart.
fetched sinetstream by_pip 'sinetstream>=1.10,<1.11' 'sinetstream-mqtt>=1.10,<1.11'

# Debian's packages (install.sh).
compiled fusesource /usr/share/java/mqtt-client.jar:/usr/share/java/hawtbuf.jar
# Eclipse Paho's jar comes along with this package, which is for React Native.
fetched paho-java by_npm 'react-native-mqtt-clients@0.2.0'
compiled paho-java '.clients/paho-java/node_modules/react-native-mqtt-clients/android/libs/*'
