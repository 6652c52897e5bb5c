package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestOnlyWholeBundlesOfRegoAreUsed(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"it is a delta":                  {"patch.json": `{"data": [{"op": "upsert", "path": "/a", "value": 1}]}`},
		"it contains compiled policy":    {"site.rego": rego, "plan.json": "{}"},
		"it contains compiled policy; o": {"site.rego": rego, "policy.wasm": "\x00asm", ".manifest": `{"wasm": [{"entrypoint": "a/b", "module": "policy.wasm"}]}`},
	} {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		tw := tar.NewWriter(w)
		for name, text := range files {
			err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))})
			if _, err2 := io.WriteString(tw, text); errors.Join(err, err2) != nil {
				t.Fatal(err, err2)
			}
		}
		if err := errors.Join(tw.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if c, err := Unpack(out.Bytes(), "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", want, c, err)
		}
	}
}

// OPA's reader bounds single files, and makes room for each before it reads it.
func TestAllFilesOfABundleTogetherAreBounded(t *testing.T) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	tw := tar.NewWriter(w)
	for i, size := range []int64{maxMember - 1, maxMember - 1, maxMember - 1, maxMember + 1<<20} {
		err := tw.WriteHeader(&tar.Header{Name: fmt.Sprint("d", i, ".json"), Mode: 0o600, Size: size})
		if i < 3 { // the last one is promised and not there
			_, err2 := io.CopyN(tw, zeros{}, maxMember-1)
			err = errors.Join(err, err2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := checkUnpacked(out.Bytes()); err == nil || !strings.Contains(err.Error(), "unpacked it is larger than 64 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestDifferentFilesHaveDifferentDigests(t *testing.T) {
	seen := map[string]string{}
	for name, c := range map[string]*Content{
		"one":           newContent("", "", []Module{{"a.rego", []byte("xy")}}, nil),
		"another name":  newContent("", "", []Module{{"a.regox", []byte("y")}}, nil),
		"two":           newContent("", "", []Module{{"a.rego", []byte("x")}, {"y", nil}}, nil),
		"data":          newContent("", "", []Module{{"a.rego", []byte("xy")}}, map[string]any{"a": 1}),
		"data of words": newContent("", "", []Module{{"a.rego", []byte("xy")}}, map[string]any{"a": "1"}),
		"none":          newContent("", "", nil, nil),
	} {
		if other, ok := seen[c.Digest]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[c.Digest] = name
	}
	if a, b := newContent("here", "r1", []Module{{"/a", nil}, {"b", nil}}, nil), newContent("there", "r2", []Module{{"b", nil}, {"a", nil}}, nil); a.Digest != b.Digest {
		t.Error("the same files, packed or not, have two digests")
	}
}
