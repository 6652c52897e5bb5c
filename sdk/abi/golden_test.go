package abi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden frames in testdata")

// golden is one frame whose bytes both sides of the contract are held to.
type golden struct {
	name  string
	value any
}

var goldens = []golden{
	{"request-inbound", &Request{
		Method: "POST",
		URL:    "/helm-upgrade?dry=1",
		Header: []Pair{{"Content-Type", "application/json"}, {"X-Empty", ""}},
		Body:   []byte(`{"release":"web"}`),
		Host: &HostSection{
			RequestID: "r-1", User: "ann@example.com", Name: "Ann Lee",
			Roles: []string{"editor"}, Teams: []string{"payments", "ops"},
			Route: "helm-upgrade", Action: "gitops:helm.upgrade",
			Params: []Pair{{"id", "7"}}, TimeoutMS: 29_500,
			Namespaces: []string{"shop"}, Groups: []string{"rg1"}, Redact: []string{"data"},
		},
	}},
	{"request-outbound", &Request{Method: "GET", URL: "helm://dev/shop/web/history?max=20"}},
	{"response", &Response{Status: 200, Header: []Pair{{"Content-Type", "text/plain"}}, Body: []byte("hello")}},
	{"response-empty", &Response{Status: 204}},
	{"error", &Error{
		Code: CodeForbidden, Origin: OriginPolicy, Status: 403,
		Message: "forbidden", Detail: "no role allows helm upgrade",
	}},
	{"error-retryable", &Error{Code: CodeUnavailable, Origin: OriginHost, Status: 503, Retryable: true, Message: "draining"}},
	{"start", &Start{ABI: Version, Instance: "gitops", Config: []byte(`{"defaultCluster":"dev"}`), Denied: []string{"azure"}}},
	{"message-text", &Message{Kind: MessageText, Data: []byte("grüße")}},
	{"message-binary", &Message{Kind: MessageBinary, Data: []byte{0, 1, 0xff}}},
	{"message-close", &Message{Kind: MessageClose, Data: []byte("logged out")}},
	{"message-idle", &Message{Kind: MessageIdle}},
	{"message-event", &Message{Kind: MessageEvent, Data: EventData("cluster_data", "7", []byte("{}"))}},
}

func encode(v any) []byte {
	switch v := v.(type) {
	case *Request:
		return AppendRequest(nil, v)
	case *Response:
		return AppendResponse(nil, v)
	case *Error:
		return AppendError(nil, v)
	case *Start:
		return AppendStart(nil, v)
	case *Message:
		return AppendMessage(nil, v)
	}
	panic(fmt.Sprintf("no encoder for %T", v))
}

func decode(frame []byte) (any, error) {
	kind, err := KindOf(frame)
	if err != nil {
		return nil, err
	}
	switch kind {
	case KindRequest:
		return DecodeRequest(frame)
	case KindResponse:
		return DecodeResponse(frame)
	case KindError:
		return DecodeError(frame)
	case KindStart:
		return DecodeStart(frame)
	case KindMessage:
		return DecodeMessage(frame)
	}
	return nil, &FrameError{"kind", "is unknown"}
}

// listing is what a golden file holds: the value, then the bytes.
func listing(v any) []byte {
	text, err := json.MarshalIndent(v, "# ", "  ")
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# %T (byte fields as base64)\n# %s\n", v, text)
	for frame := encode(v); len(frame) > 0; {
		n := min(16, len(frame))
		shown := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, latin1(frame[:n]))
		fmt.Fprintf(&out, "%-47s  # |%s|\n", fmt.Sprintf("% x", frame[:n]), shown)
		frame = frame[n:]
	}
	return out.Bytes()
}

func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// readGolden returns the bytes of a golden file without its comments.
func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(data)) {
		code, _, _ := strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	frame, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return frame
}

func TestGoldenFramesHoldBothSidesToTheSameBytes(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", g.name+".hex"), listing(g.value), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			frame := readGolden(t, g.name)
			if got := encode(g.value); !bytes.Equal(got, frame) {
				t.Errorf("encoded\n% x\nthe golden frame is\n% x", got, frame)
			}
			got, err := decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, g.value) {
				t.Errorf("decoded %+v, want %+v", got, g.value)
			}
		})
	}
}

func TestEveryGoldenFileIsATestCase(t *testing.T) {
	known := map[string]bool{"mutants.txt": true}
	for _, g := range goldens {
		known[g.name+".hex"] = true
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !f.IsDir() && !known[f.Name()] {
			t.Errorf("testdata/%s belongs to no case", f.Name())
		}
	}
}
