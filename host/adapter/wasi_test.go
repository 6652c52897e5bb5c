package adapter

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestACGIAnswerIsAResponse(t *testing.T) {
	for _, c := range []struct {
		why, out string
		status   int
		header   []abi.Pair
		body     string
	}{
		{"content", "Content-Type: text/plain\n\nhello", 200, []abi.Pair{{Name: "Content-Type", Value: "text/plain"}}, "hello"},
		{"carriage returns", "Content-Type: text/plain\r\nX-Total-Count:  7 \r\n\r\na\r\nb", 200,
			[]abi.Pair{{Name: "Content-Type", Value: "text/plain"}, {Name: "X-Total-Count", Value: "7"}}, "a\r\nb"},
		{"status", "status: 404 Not Found\nContent-Type: a/b\n\n", 404, []abi.Pair{{Name: "Content-Type", Value: "a/b"}}, ""},
		{"status alone", "Status: 204\n\n", 204, nil, ""},
		{"client redirect", "Location: ../other\n\n", 302, []abi.Pair{{Name: "Location", Value: "../other"}}, ""},
		{"client redirect with a status", "Status: 303 See Other\nLocation: /other\n\n", 303, []abi.Pair{{Name: "Location", Value: "/other"}}, ""},
	} {
		r, err := parseCGI([]byte(c.out))
		if err != nil || r.Status != c.status || !slices.Equal(r.Header, c.header) || string(r.Body) != c.body {
			t.Errorf("%s: %+v, %v", c.why, r, err)
		}
	}
}

func TestAnOutputThatIsNotACGIAnswerIsRefused(t *testing.T) {
	for _, c := range []struct{ why, out, want string }{
		{"empty", "", "no CGI header"},
		{"a body only", "hello", "no CGI header"},
		{"a body of lines", "hello\nworld\n", "does not begin with a CGI header"},
		{"a header that does not end", "Content-Type: a/b\n", "no CGI header"},
		{"no type", "X-Total-Count: 1\n\nbody", "neither Content-Type"},
		{"no status", "Status: soon\n\n", "is not a status"},
		{"an interim status", "Status: 100\n\n", "is not a status"},
		{"a local redirect", "Location: /other\n\n", "local redirect"},
		{"a space in a name", "Content Type: a\n\n", "does not begin with a CGI header"},
		{"a long header", "A: " + strings.Repeat("a", abi.MaxString) + "\n\n", "too long"},
		{"many headers", strings.Repeat("A: b\n", abi.MaxHeaders+2) + "\n", "too long"},
	} {
		r, err := parseCGI([]byte(c.out))
		if e, ok := err.(*abi.Error); !ok || !strings.Contains(e.Detail, c.want) || e.Status != 502 {
			t.Errorf("%s: %+v, %v", c.why, r, err)
		}
	}
}

func FuzzParseCGI(f *testing.F) {
	f.Add([]byte("Status: 404 Not Found\r\nContent-Type: a/b\r\n\r\nbody"))
	f.Add([]byte("Location: x\n\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		r, err := parseCGI(out)
		if err != nil {
			return
		}
		if r.Status < 200 || r.Status > 599 || len(r.Header) > abi.MaxHeaders+1 {
			t.Errorf("%+v", r)
		}
	})
}

func TestTheEnvironmentIsThatOfCGI(t *testing.T) {
	c, err := newCommand("hello", []byte(`{"env": {"GREETING": "hi"}}`))
	if err != nil {
		t.Fatal(err)
	}
	env := c.environment(&abi.Request{
		Method: "POST", URL: "/a%2Fb/c?x=%20y", Body: []byte("four"),
		Header: []abi.Pair{{Name: "Content-Type", Value: "text/plain"}, {Name: "If-Match", Value: `"1"`}, {Name: "Proxy", Value: "http://evil"}, {Name: "If_Match", Value: "2"}, {Name: "Prefer", Value: "a\x00b"}},
		Host:   &abi.HostSection{RequestID: "r1", User: "ann@example.com", Roles: []string{"viewer", "editor"}, Route: "post", Action: "hello:post", Params: []abi.Pair{{Name: "id", Value: "7"}}},
	})
	for _, want := range []string{
		"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=POST", "SCRIPT_NAME=/api/hello", "PATH_INFO=/a/b/c", "QUERY_STRING=x=%20y", "CONTENT_LENGTH=4",
		"CONTENT_TYPE=text/plain", `HTTP_IF_MATCH="1"`, "REMOTE_USER=ann@example.com", "BULKHEAD_ROLES=viewer editor", "BULKHEAD_PARAM_id=7", "GREETING=hi",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %q", want, env)
		}
	}
	for _, v := range env {
		if strings.HasPrefix(v, "HTTP_PROXY=") || strings.Contains(v, "\x00") || v == "HTTP_IF_MATCH=2" {
			t.Errorf("%q is there", v)
		}
	}
}

func TestAConfigurationThatCannotBeUsedIsRefused(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"arguments": []}`, "arguments"},
		{`{"args": "a"}`, "args"},
		{`{"args": ["\u0000"]}`, "args[0]"},
		{`{"env": {"": "a"}}`, "env"},
		{`{"env": {"A=B": "a"}}`, "A=B"},
		{`{"env": {"HTTP_ACCEPT": "a"}}`, "HTTP_ACCEPT"},
		{`{"env": {"REMOTE_USER": "ann"}}`, "REMOTE_USER"},
		{`{"output": "json"}`, "output"},
		{`{"contentType": "a/b"}`, "contentType"},
		{`{"output": "body", "contentType": "a\nb"}`, "contentType"},
		{`{"args": ["` + strings.Repeat("a", maxTextBytes) + `b"]}`, "args and env"},
	} {
		if _, err := newCommand("x", []byte(c.config)); err == nil || !strings.HasPrefix(err.Error(), "config: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v", c.config, err)
		}
	}
}
