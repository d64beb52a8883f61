#!/usr/bin/env bash
# Builds the clients of other languages for the end-to-end tests, into target/clients or the folder
# that is given. What a machine cannot build is skipped with a line that says so, and the tests
# then skip it too.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly HERE=$PWD TO=${1:-$PWD/../../../target/clients}
mkdir -p "$TO"

have() { command -v "$1" >/dev/null 2>&1; }

# need <program>: fails and says so where it is not here.
need() { have "$1" || { echo "there is no $1" >&2; return 1; }; }

# part <name> <function>: a part is there once its mark is, which names the sources it was made of.
part() {
  local name=$1 mark=$TO/$1.done sum
  sum=$(find "$HERE/$name" -type f -print0 | sort -z | xargs -0 cat | cksum)
  if [[ -e $mark && $(cat "$mark") == "$sum" ]]; then
    echo "client $name: present" >&2
  elif "make_$name"; then
    echo "$sum" >"$mark"
    echo "client $name: ready" >&2
  else
    rm -f "$mark"
    echo "client $name: SKIPPED, see above" >&2
  fi
}

make_go() {
  need go && env -C "$HERE/go" GOFLAGS=-mod=readonly CGO_ENABLED=0 \
    go build -trimpath -o "$TO/goclient" .
}

# python_part <name>: an environment of Python with what its requirements name.
python_part() {
  need python3 && python3 -m venv "$TO/$1" &&
    "$TO/$1/bin/pip" install -q -r "$HERE/$1/requirements.txt"
}

make_python() { python_part python; }

# PostgreSQL itself is the machine's.
make_patroni() { python_part patroni; }

make_node() {
  need npm && mkdir -p "$TO/node" &&
    cp "$HERE/node/"{package.json,package-lock.json,main.js,more.js,gateway.js} "$TO/node" &&
    npm --prefix "$TO/node" ci --silent --no-fund --no-audit
}

# The crate asks for protoc; a Python package has it where the machine has not.
make_rust() {
  need cargo || return
  local protoc=${PROTOC:-protoc}
  if ! have "$protoc"; then
    need python3 && python3 -m venv "$TO/protoc" &&
      "$TO/protoc/bin/pip" install -q grpcio-tools==1.85.1 || return
    protoc=$TO/protoc/protoc
    # shellcheck disable=SC2016 # the wrapper expands it
    printf '#!/bin/sh\nexec "%s" -m grpc_tools.protoc "$@"\n' "$TO/protoc/bin/python" >"$protoc"
    chmod 755 "$protoc"
  fi
  PROTOC=$protoc cargo build -q --locked --manifest-path "$HERE/rust/Cargo.toml" \
    --target-dir "$TO/rust"
}

part go
part python
part patroni
part node
part rust
