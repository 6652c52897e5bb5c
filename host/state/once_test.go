package state

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnceIsOnceForEverybody(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	until := time.Now().Add(time.Hour)
	var firsts atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			first, err := s.Once(t.Context(), "name", until)
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	all.Wait()
	if firsts.Load() != 1 {
		t.Errorf("%d of 20 were first", firsts.Load())
	}
	if first, err := s.Once(t.Context(), "another", until); !first || err != nil {
		t.Errorf("another name: %v, %v", first, err)
	}
	s.forgetOnce(t.Context(), time.Now()) // not yet
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if first, err := s.Once(t.Context(), "name", until); first || err != nil {
		t.Errorf("after a restart: %v, %v", first, err)
	}
	s.forgetOnce(t.Context(), until.Add(time.Minute))
	if first, err := s.Once(t.Context(), "name", until); !first || err != nil {
		t.Errorf("after its time it is remembered: %v, %v", first, err)
	}
}
