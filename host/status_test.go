package host

import "testing"

func TestEveryKindHasAStatusOfAnError(t *testing.T) {
	for k := Internal; k <= Timeout; k++ {
		if s := k.HTTPStatus(); s < 400 || s > 599 {
			t.Errorf("%v answers %d", k, s)
		}
	}
	if s := Kind(200).HTTPStatus(); s != 500 {
		t.Errorf("an unknown kind answers %d, want 500", s)
	}
}

func TestUpstreamStatusIsKept(t *testing.T) {
	e := &Error{Kind: KindOfStatus(415), Status: 415}
	if e.Kind != Invalid || e.HTTPStatus() != 415 {
		t.Errorf("415 became %v, %d", e.Kind, e.HTTPStatus())
	}
	if k := KindOfStatus(401); k != Upstream {
		t.Errorf("a 401 that the host got is %v; the user is signed in", k)
	}
}
