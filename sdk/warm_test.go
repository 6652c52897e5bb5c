package sdk

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

type inner struct {
	Names []string
	By    map[string]*deep
}

type deep struct {
	Next  *deep // has no end
	Raw   json.RawMessage
	Time  time.Time
	Func  func()
	plain int
}

type outer struct {
	inner
	List []struct{ In *inner }
	Any  any
}

func TestEveryPartOfATypeIsFilled(t *testing.T) {
	var v outer
	fill(reflect.ValueOf(&v).Elem(), 0)
	if v.Names[0] != "a" || v.By["a"] == nil || v.By["a"].Next == nil || v.List[0].In.By["a"].Next.Next == nil {
		t.Errorf("got %+v", v)
	}
}

// What cannot be written or read is left alone.
func TestWarmingNeverFails(t *testing.T) {
	WarmJSON(outer{}, inner{}, 7, "a", []deep{}, map[int]string{}, struct{ C chan int }{}, time.Now())
	WarmJSON()
}
