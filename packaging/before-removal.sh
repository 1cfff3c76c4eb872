#!/bin/sh
# Before the package is removed. A broker whose configuration loads a library that is gone does not start, and without
# the line it may allow what the API denies, which is not for a package to decide. So the library stays until its line is gone.
set -e
# dpkg says what happens in a word, rpm how many versions stay.
case ${1:-} in
  remove | 0) ;;
  *) exit 0 ;;
esac
# A broker that is removed in the same run starts no more. (rpm does not tell.)
if [ "$1" = remove ]; then
  case $(dpkg-query -W -f '${db:Status-Want}' mosquitto 2>/dev/null) in
    install | hold) ;;
    *) exit 0 ;;
  esac
fi
# What the broker reads where it is started by the system: mosquitto.conf and *.conf in conf.d.
loads='^[[:space:]]*\(auth_plugin\|plugin\|global_plugin\|plugin_load\)[[:space:]].*libmosquitto_http_auth\.so'
if named=$(grep -l "$loads" /etc/mosquitto/mosquitto.conf /etc/mosquitto/conf.d/*.conf 2>/dev/null) || [ -n "$named" ]; then
  {
    echo "mosquitto-http-auth stays: the broker would not start without it, since this loads it:"
    echo "$named" | sed 's/^/  /'
    echo "Delete or comment out its plugin line and the options below, decide who else says who may log in, restart the"
    echo "broker, and remove the package then."
  } >&2
  exit 1
fi
