package helm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestOneUserCannotHoldEverySlot(t *testing.T) {
	s := newSlots(4, 2, time.Millisecond)
	take := func(user host.UserID) error { return s.acquire(t.Context(), user) }
	if err := errors.Join(take("ann"), take("ann")); err != nil {
		t.Fatal(err)
	}
	if err := take("ann"); host.KindOf(err) != host.Limited || !strings.Contains(err.Error(), "2 helm actions of yours") {
		t.Errorf("a third action of one user: %v", err)
	}
	if err := errors.Join(take("bob"), take("cid")); err != nil {
		t.Errorf("others are refused: %v", err)
	}
	if err := take("dan"); host.KindOf(err) != host.Limited || strings.Contains(err.Error(), "yours") {
		t.Errorf("with all slots taken: %v", err)
	}
	s.release("ann")
	if err := take("dan"); err != nil {
		t.Error(err)
	}
	for _, user := range []host.UserID{"ann", "bob", "cid", "dan"} {
		s.release(user)
	}
	if len(s.by) > 0 || s.used > 0 {
		t.Errorf("left are %d slots of %v", s.used, s.by)
	}
}

func TestWhoWaitsGetsTheSlotThatIsFreed(t *testing.T) {
	s := newSlots(1, 1, time.Minute)
	if err := s.acquire(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { got <- s.acquire(t.Context(), "bob") }()
	s.release("ann")
	if err := <-got; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(host.ErrLoggedOut)
	if err := s.acquire(ctx, "ann"); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("given up: %v", err)
	}
}

func TestHelmSharesItsSlots(t *testing.T) {
	h, err := New(Config{}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.slots.each*4 != h.slots.all || h.slots.wait > 5*time.Second {
		t.Errorf("%d of %d slots for each, after %v", h.slots.each, h.slots.all, h.slots.wait)
	}
}
