package audit

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestALogIsReadBackOldestFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	if err := errors.Join(os.WriteFile(path+".2", []byte("1\n"), 0o600), os.WriteFile(path+".1", []byte("2\n"), 0o600), os.WriteFile(path, []byte("3\n"), 0o600),
		os.WriteFile(path+".9", []byte("0\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	r, err := (&File{Path: path}).Read()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "1\n2\n3\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAMaskErasesElementsAndLeavesTheOthersInPlace(t *testing.T) {
	list := []string{"/a/1", "/a/0/secret", "/a/7", "/a/x", "/b/c", "/d~1e"}
	record := map[string]any{"a": []any{map[string]any{"secret": 1, "kept": 2}, "two", "three"}, "b": "text", "d/e": 1}
	erased := (&Config{Mask: &list}).mask(nil).erase(record)
	if want := []string{"/a/1", "/a/0/secret", "/d~1e"}; !reflect.DeepEqual(erased, want) {
		t.Errorf("erased %q, want %q", erased, want)
	}
	if want := (map[string]any{"a": []any{map[string]any{"kept": 2}, nil, "three"}, "b": "text"}); !reflect.DeepEqual(record, want) {
		t.Errorf("left %v, want %v", record, want)
	}
}
