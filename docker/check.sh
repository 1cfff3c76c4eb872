#!/bin/bash
# docker/check.sh HOST [PORT [alone]]    proves with real clients that the broker there does what example/users.toml says
# alone: each client may be at another broker, where it gets no message of the others'
set -uo pipefail
host=$1 port=${2:-1883} alone=${3:-}
passed=0 failed=0

verdict() { # NAME EXPECTED GOT
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1)); echo "ok      $1"
  else
    failed=$((failed + 1)); echo "FAILED  $1: expected '$2', got '$3'"
  fi
}

# What the broker says to a login: 0 is welcome, 5 is not authorised.
login() { # [OPTION...]
  mosquitto_pub -h "$host" -p "$port" -t garden/login -n "$@" >/dev/null 2>&1
  echo $?
}

# MQTT 5 at quality of service 1 tells the publisher whether the message was allowed.
publish() { # USER PASSWORD TOPIC
  local said
  said=$(mosquitto_pub -h "$host" -p "$port" -V 5 -q 1 -u "$1" -P "$2" -t "$3" -m hello 2>&1)
  case $said in
    '') echo allowed ;;
    *'Not authorized'*) echo denied ;;
    *) echo "$said" ;;
  esac
}

# -E leaves as soon as the subscription is answered.
subscribe() { # USER PASSWORD FILTER
  local said
  said=$(mosquitto_sub -h "$host" -p "$port" -V 5 -E -W 10 -u "$1" -P "$2" -t "$3" 2>&1)
  case $said in
    '') echo allowed ;;
    *denied* | *'Not authorized'*) echo denied ;;
    *) echo "$said" ;;
  esac
}

# The first of alice's two messages that reaches a user.
received() { # USER PASSWORD FILTER
  # Line by line, or the pipe would hold back the SUBACK that is waited for.
  coproc LISTENER { exec stdbuf -oL mosquitto_sub -h "$host" -p "$port" -d -v -C 1 -W 10 -u "$1" -P "$2" -t "$3" 2>&1; }
  local line
  exec 3<&"${LISTENER[0]}"
  while read -r -u 3 line; do
    case $line in
      *'received SUBACK'*)
        publish alice wonderland garden/bob/valve >/dev/null
        publish alice wonderland garden/shed/temperature >/dev/null
        ;;
      garden/*) echo "$line" ;;
    esac
  done
  exec 3<&-
}

verdict 'login: the right password' 0 "$(login -u alice -P wonderland)"
verdict 'login: a wrong password' 5 "$(login -u alice -P wonder)"
verdict 'login: no password' 5 "$(login -u alice)"
verdict 'login: an unknown user' 5 "$(login -u mallory -P wonderland)"
verdict 'login: no name' 5 "$(login)"

verdict 'publish: inside a rule' allowed "$(publish alice wonderland garden/shed/temperature)"
verdict 'publish: outside every rule' denied "$(publish alice wonderland kitchen/temperature)"
verdict 'publish: a superuser, anywhere' allowed "$(publish root toor kitchen/temperature)"

verdict 'subscribe: inside a rule' allowed "$(subscribe bob builder garden/+/temperature)"
verdict 'subscribe: wider than the rule' denied "$(subscribe bob builder 'garden/#')"
verdict 'subscribe: shared, wider than the rule' denied "$(subscribe bob builder "\$share/all/garden/#")"
verdict 'subscribe: a superuser, anything' allowed "$(subscribe root toor '#')"

if [ -z "$alone" ]; then
  verdict 'receive: what the rule matches' 'garden/shed/temperature hello' "$(received bob builder garden/+/temperature)"
  verdict 'receive: a superuser, everything' 'garden/bob/valve hello' "$(received root toor 'garden/#')"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
