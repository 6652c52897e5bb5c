package abi

import (
	"bytes"
	"strings"
	"testing"
)

func TestAnEventsNameAndIdCannotForgeFields(t *testing.T) {
	name, id, text, ok := SplitEvent(EventData("cluster_data", "a b~", []byte("one\ntwo")))
	if !ok || name != "cluster_data" || id != "a b~" || string(text) != "one\ntwo" {
		t.Errorf("got %q %q %q %v", name, id, text, ok)
	}
	for what, data := range map[string][]byte{
		"the host's own name": EventData("end", "", nil),
		"a name with a colon": EventData("a:b", "", nil),
		"a name with a CR":    EventData("a\rdata", "", nil),
		"a long name":         EventData(strings.Repeat("n", MaxEventName+1), "", nil),
		"an id with a CR":     EventData("", "1\rdata: x", nil),
		"an id with a NUL":    EventData("", "1\x00", nil),
		"a long id":           EventData("", strings.Repeat("i", MaxEventID+1), nil),
		"a text not UTF-8":    EventData("", "", []byte{0xff}),
		"no id":               []byte("name\n"),
		"nothing":             nil,
	} {
		if _, _, _, ok := SplitEvent(data); ok {
			t.Errorf("%s was accepted", what)
		}
	}
}

func FuzzSplitEvent(f *testing.F) {
	f.Add([]byte("cluster_data\n7\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name, id, text, ok := SplitEvent(data)
		if ok && (strings.ContainsAny(name+id, "\r\n\x00") || !bytes.Equal(EventData(name, id, text), data)) {
			t.Errorf("%q was split into %q %q %q", data, name, id, text)
		}
	})
}
