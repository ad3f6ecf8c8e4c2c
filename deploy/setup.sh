#!/bin/sh
# First start: an admin token for people (printed once) and a metrics token for Prometheus (in the shared folder).
set -eu
config=/etc/driftline/driftline.yaml
if [ ! -s /shared/metrics-token ]; then
  umask 022
  driftline token create --config "$config" --role metrics --note prometheus --quiet > /shared/metrics-token.new
  mv /shared/metrics-token.new /shared/metrics-token
  echo "admin token (shown once): $(driftline token create --config "$config" --role admin --note setup --quiet)"
fi
driftline config check "$config"
