//go:build tools

// Package kubernetes names the program to build, so that go.mod keeps its version. It is never
// compiled itself.
package kubernetes

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
