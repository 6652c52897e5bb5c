package pods

import (
	"errors"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestTheStreamsNumberIsReadStrictly(t *testing.T) {
	with := func(name, value string) *abi.Response {
		return &abi.Response{Status: 200, Header: []abi.Pair{{Name: name, Value: value}}}
	}
	if s, err := streamOf(with("bulkhead-stream", "3")); err != nil || s != 3 {
		t.Errorf("got %d, %v", s, err)
	}
	for _, r := range []*abi.Response{
		{Status: 200}, with("Bulkhead-Stream", ""), with("Bulkhead-Stream", "x"), with("Bulkhead-Stream", "4294967296"), with("Other", "1"),
	} {
		_, err := streamOf(r)
		if x, ok := errors.AsType[*abi.Error](err); !ok || x.Status != 502 || x.Origin != abi.OriginHost {
			t.Errorf("%v: got %v", r.Header, err)
		}
	}
}

func TestANameThatIsNoneIsRefused(t *testing.T) {
	for _, target := range []Target{{}, {Cluster: "c"}, {Cluster: "c/d", Namespace: "n"}, {Cluster: "c", Namespace: "..", Pod: "p"}, {Cluster: "c", Namespace: "n", Pod: "p/q"}} {
		_, err := Attach(target, Terminal{})
		if x, ok := errors.AsType[*abi.Error](err); !ok || x.Status != 400 {
			t.Errorf("%+v: got %v", target, err)
		}
	}
}
