//go:build tools

// Package v36 names the program to build, so that go.mod keeps its version. It is never compiled
// itself.
package v36

import _ "go.etcd.io/etcd/server/v3"
