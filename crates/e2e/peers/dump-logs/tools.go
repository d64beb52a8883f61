//go:build tools

// Package dumplogs names the program to build, so that go.mod keeps its version.
package dumplogs

import (
	_ "go.etcd.io/etcd/v3/tools/etcd-dump-logs"
)
