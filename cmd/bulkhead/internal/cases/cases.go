// Package cases is `bulkhead plugin test` and `bulkhead plugin bench`: it makes the requests
// of a plugin's cases to the plugin as wasm, in a real host whose capabilities answer what
// the cases say.
package cases

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Dir is the directory of the cases in that of a plugin. Each .yaml file in it has some.
const Dir = "cases"

// File is one file of cases.
type File struct {
	Cases []Case `json:"cases"`

	path string
}

// Case is one request, what must be answered, and the capability calls in between.
type Case struct {
	Name    string  `json:"name"`
	Request Request `json:"request"`
	Answer  Answer  `json:"answer"`
	// Socket, Events: the request opens a websocket or an event stream, and these are its
	// steps. Answer is then the refusal before it opens, which has no steps.
	Socket *[]Step `json:"socket,omitempty"`
	Events *[]Step `json:"events,omitempty"`
	// Calls are the capability calls that the plugin makes, and their answers. Any other
	// call fails the case, and so does one that is not made. In a session, any other call
	// waits until the session ends, as one that follows changes does.
	Calls []Call `json:"calls,omitempty"`
	// Cassette names a file with calls, in Dir, which --record writes.
	Cassette string `json:"cassette,omitempty"`
}

// Request is a request to the plugin.
type Request struct {
	User   string            `json:"user,omitempty"`   // dev@example.com if empty
	Method string            `json:"method,omitempty"` // GET if empty
	Path   string            `json:"path"`             // below the plugin's root, with the query
	Header map[string]string `json:"header,omitempty"`
	Content
}

// Answer is what must be answered. What is absent is not compared, but for the status.
type Answer struct {
	Status   int               `json:"status,omitempty"` // 200 if absent
	Header   map[string]string `json:"header,omitempty"`
	Text     *string           `json:"text,omitempty"` // the body
	JSON     json.RawMessage   `json:"json,omitempty"` // the body's value
	Contains string            `json:"contains,omitempty"`
}

// Call is one capability call: either Answer or Error is the outcome.
type Call struct {
	Request CallRequest `json:"request"`
	Answer  *CallAnswer `json:"answer,omitempty"`
	Error   *CallError  `json:"error,omitempty"` // what the plugin gets instead of an answer
}

// CallRequest is compared with the plugin's request. Without a body any body is accepted.
type CallRequest struct {
	Method string `json:"method,omitempty"` // GET if empty
	URL    string `json:"url"`              // such as kube://dev/api/v1/namespaces/shop/pods
	Content
}

// CallAnswer is the answer of a service.
type CallAnswer struct {
	Status int               `json:"status,omitempty"` // 200 if absent
	Header map[string]string `json:"header,omitempty"`
	Content
}

// CallError is a refusal or failure of the host or of a service. What policy and grants
// refuse needs none: the host asks them.
type CallError struct {
	Status  int    `json:"status"`
	Origin  string `json:"origin,omitempty"` // upstream if empty
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// Content is a body in one of three forms.
type Content struct {
	Body   string          `json:"body,omitempty"`
	Base64 string          `json:"base64,omitempty"`
	JSON   json.RawMessage `json:"json,omitempty"`
}

// maxCassette bounds a cassette's file, in bytes.
const maxCassette = 32 << 20

// Load reads the cases of the plugin in dir, those of each file in the order of names. The
// error names the file and the case.
func Load(dir string) ([]File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, Dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there are no cases: %s has no .yaml file", filepath.Join(dir, Dir))
	}
	var files []File
	for _, path := range paths {
		f := File{path: path}
		if _, err := config.Read(path, nil, &f); err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for i := range f.Cases {
			c := &f.Cases[i]
			if err := c.check(seen); err != nil {
				return nil, fmt.Errorf("%s: cases[%d]: %w", path, i, err)
			}
		}
		files = append(files, f)
	}
	return files, nil
}

func (c *Case) check(seen map[string]bool) error {
	switch {
	case c.Name == "":
		return errors.New("name: is missing")
	case seen[c.Name]:
		return fmt.Errorf("name: %q is used twice", c.Name)
	case !strings.HasPrefix(c.Request.Path, "/"):
		return fmt.Errorf("request.path: %q must begin with /", c.Request.Path)
	case c.Cassette != "" && len(c.Calls) > 0:
		return errors.New("cassette: excludes calls")
	case c.Cassette != "" && (c.Cassette != filepath.Base(c.Cassette) || !strings.HasSuffix(c.Cassette, ".json")):
		return fmt.Errorf("cassette: %q must be the name of a .json file in %s", c.Cassette, Dir)
	}
	seen[c.Name] = true
	if err := c.Request.Content.check(); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := c.checkSession(); err != nil {
		return err
	}
	return checkCalls(c.Calls)
}

func checkCalls(calls []Call) error {
	for i := range calls {
		if err := calls[i].check(); err != nil {
			return fmt.Errorf("calls[%d]: %w", i, err)
		}
	}
	return nil
}

func (c *Call) check() error {
	switch {
	case c.Request.URL == "":
		return errors.New("request.url: is missing")
	case !one(c.Answer != nil, c.Error != nil):
		return errors.New("needs either answer or error")
	case c.Error != nil && (c.Error.Status < 400 || c.Error.Status > 599):
		return fmt.Errorf("error.status: %d must be from 400 to 599", c.Error.Status)
	case c.Error != nil && c.Error.Origin != "" && origins[c.Error.Origin] == 0:
		return fmt.Errorf("error.origin: %q must be upstream, host, policy or grant", c.Error.Origin)
	case c.Answer != nil && c.Answer.Status != 0 && (c.Answer.Status < 100 || c.Answer.Status > 599):
		return fmt.Errorf("answer.status: %d must be from 100 to 599", c.Answer.Status)
	}
	if err := c.Request.Content.check(); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if c.Answer != nil {
		if err := c.Answer.Content.check(); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

// one reports whether exactly one of the things is given.
func one(given ...bool) bool { return count(given...) == 1 }

func count(given ...bool) (n int) {
	for _, g := range given {
		if g {
			n++
		}
	}
	return n
}

func (c *Content) check() error {
	if count(c.Body != "", c.Base64 != "", c.JSON != nil) > 1 {
		return errors.New("give one of body, base64 and json")
	}
	if _, err := base64.StdEncoding.DecodeString(c.Base64); err != nil {
		return fmt.Errorf("base64: %w", err)
	}
	return nil
}

func (c *Content) given() bool { return c.Body != "" || c.Base64 != "" || c.JSON != nil }

// bytes are the body; check has passed.
func (c *Content) bytes() []byte {
	switch {
	case c.JSON != nil:
		return c.JSON
	case c.Base64 != "":
		data, _ := base64.StdEncoding.DecodeString(c.Base64) // check has decoded it
		return data
	}
	return []byte(c.Body)
}

// contentOf returns the most readable form of a body.
func contentOf(body []byte) (c Content) {
	switch {
	case len(body) == 0:
	case json.Valid(body) && utf8.Valid(body):
		c.JSON = bytes.Clone(body)
	case utf8.Valid(body):
		c.Body = string(body)
	default:
		c.Base64 = base64.StdEncoding.EncodeToString(body)
	}
	return c
}

// sameBody reports whether a body is what c says: the same value if c is JSON.
func (c *Content) sameBody(body []byte) bool {
	if c.JSON != nil {
		return sameJSON(c.JSON, body)
	}
	return bytes.Equal(c.bytes(), body)
}

func sameJSON(want, got []byte) bool {
	a, errA := decode(want)
	b, errB := decode(got)
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}

// decode decodes one JSON value. Numbers keep their digits.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

// calls returns the calls of a case, from its cassette if it has one.
func (c *Case) calls(dir string) ([]Call, error) {
	if c.Cassette == "" {
		return c.Calls, nil
	}
	path := filepath.Join(dir, Dir, c.Cassette)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist; record it with --record", path)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	d := json.NewDecoder(io.LimitReader(file, maxCassette))
	d.DisallowUnknownFields()
	var cassette struct {
		Calls []Call `json:"calls"`
	}
	if err := d.Decode(&cassette); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := checkCalls(cassette.Calls); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cassette.Calls, nil
}

// record writes the cassette of a case.
func (c *Case) record(dir string, calls []Call) error {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]any{"calls": append([]Call{}, calls...)}); err != nil {
		return err
	}
	path := filepath.Join(dir, Dir, c.Cassette)
	if err := os.WriteFile(path+".new", out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// sorted returns the keys of a map in order.
func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
