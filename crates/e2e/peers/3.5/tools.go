//go:build tools

// Package v35 names the program to build, so that go.mod keeps its version. It is never compiled
// itself.
package v35

import _ "go.etcd.io/etcd/server/v3"
