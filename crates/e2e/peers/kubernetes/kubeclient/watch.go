package main

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// A watcher sees what becomes of objects, and goes on from the last revision when its stream ends.
type watcher struct {
	*shift
	from    string
	seen    map[string][]change
	deleted int
	resumed int
	failed  chan string
	done    chan struct{}
	total   int
}

// follow watches from a revision on.
func follow(w *shift, from string) *watcher {
	it := &watcher{
		shift: w, from: from, seen: map[string][]change{},
		failed: make(chan string, 1), done: make(chan struct{}),
	}
	go it.run()
	return it
}

// run ends when all that can be created and deleted was seen to be.
func (it *watcher) run() {
	defer close(it.done)
	for ; ; it.resumed++ {
		stream, err := it.objects.Watch(it.ctx, v1.ListOptions{
			ResourceVersion: it.from, AllowWatchBookmarks: true, LabelSelector: "part=load",
		})
		if err != nil {
			if !isFault(err) {
				it.failed <- fmt.Sprintf("a watch of %s from %s: %v", it.name, it.from, err)
				return
			}
			time.Sleep(20 * time.Millisecond)
			continue
		}
		for event := range stream.ResultChan() {
			if wrong := it.see(event); wrong != "" {
				it.failed <- wrong
				return
			}
			if event.Type == watch.Error {
				break
			}
			if it.hasEnded() {
				stream.Stop()
				return
			}
		}
		stream.Stop()
	}
}

func (it *watcher) see(event watch.Event) (wrong string) {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type == watch.Error {
		status, isStatus := event.Object.(*v1.Status)
		if isStatus && status.Code < 500 {
			return fmt.Sprintf("a watch of %s from %s: %s", it.name, it.from, status.Message)
		}
		return ""
	}
	revision := object.GetResourceVersion()
	before := revisionOf(it.from)
	it.from = revision
	if event.Type == watch.Bookmark {
		return ""
	}
	if revisionOf(revision) <= before {
		return fmt.Sprintf("an event of %s at %s came after %d", it.name, revision, before)
	}
	if event.Type == watch.Deleted {
		revision = ""
		it.deleted++
	}
	it.seen[object.GetName()] = append(it.seen[object.GetName()], change{event.Type, revision})
	it.total++
	return ""
}

// hasEnded says whether all objects were deleted that were ever there. Before the last one is,
// nobody deletes the first one.
func (it *watcher) hasEnded() bool {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	return it.deleted > 0 && it.deleted == len(it.ledger)
}

// compare waits for the last event, and then all that was seen must be all that was done.
func (it *watcher) compare() {
	select {
	case <-it.done:
	case <-time.After(60 * time.Second):
		fail("%s: %d objects were seen to be deleted, of %d", it.name, it.deleted, len(it.ledger))
	}
	select {
	case wrong := <-it.failed:
		fail("%s", wrong)
	default:
	}
	for name, expected := range it.ledger {
		if fmt.Sprint(it.seen[name]) != fmt.Sprint(expected) {
			fail("%s %s: seen %v of %v", it.name, name, it.seen[name], expected)
		}
	}
	fmt.Printf("%s: %d events seen, each once and in order; resumed %d times\n", it.name, it.total,
		it.resumed)
}
