package sdk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [
    {"name": "hello", "method": "GET", "path": "/hello", "action": "read"},
    {"name": "seen", "method": "POST", "path": "/seen/{id}", "action": "seen.read"},
    {"name": "body", "method": "POST", "path": "/body", "action": "body.read"},
    {"name": "answer", "method": "GET", "path": "/answer/{how}", "action": "answer.read"},
    {"name": "fetch", "method": "GET", "path": "/fetch", "action": "fetch.read"},
    {"name": "config", "method": "GET", "path": "/config", "action": "config.read"}
  ],
  "capabilities": [
    {"name": "kube", "reason": "test"},
    {"name": "azure", "reason": "test", "optional": true}
  ]
}`

var config struct {
	Greeting string `json:"greeting"`
	denied   bool
	instance string
}

func init() {
	sdk.OnStart(func(s *sdk.Start) error {
		config.Greeting, config.denied, config.instance = "", s.Denied("azure"), s.Instance()
		return s.Config(&config)
	})
	sdk.Handle("hello", func(r *sdk.Request) (*sdk.Response, error) {
		return sdk.Text(200, "hello "+r.User()), nil
	})
	sdk.Handle("seen", seen)
	sdk.Handle("body", func(r *sdk.Request) (*sdk.Response, error) {
		var v struct {
			Count int `json:"count"`
		}
		if err := r.JSON(&v); err != nil {
			return nil, err
		}
		return sdk.JSON(201, v)
	})
	sdk.Handle("answer", answer)
	sdk.Handle("fetch", func(r *sdk.Request) (*sdk.Response, error) {
		return kube.Cluster("dev").Fetch("GET", "/api/v1/pods", nil, nil)
	})
	sdk.Handle("config", func(*sdk.Request) (*sdk.Response, error) {
		return sdk.Text(200, fmt.Sprint(config.instance, " ", config.Greeting, " ", config.denied)), nil
	})
}

func seen(r *sdk.Request) (*sdk.Response, error) {
	left := r.Remaining()
	return sdk.JSON(200, map[string]any{
		"method": r.Method(), "path": r.Path(), "raw": r.RawQuery(), "q": r.Query("q"), "all": r.Values()["q"],
		"header": r.Header("prefer"), "none": r.Header("X-Other"), "body": string(r.Body()), "id": r.Param("id"), "no": r.Param("no"),
		"user": r.User(), "name": r.Name(), "roles": r.Roles(), "teams": r.Teams(), "route": r.Route(), "action": r.Action(),
		"request": r.RequestID(), "namespaces": r.Namespaces(), "groups": r.ResourceGroups(), "redact": r.Redact(),
		"intime": left > 0 && left <= 7*time.Second,
	})
}

func answer(r *sdk.Request) (*sdk.Response, error) {
	refusal := &sdk.Error{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "forbidden", Detail: "why"}
	switch r.Param("how") {
	case "nothing":
		return nil, nil
	case "empty":
		return sdk.NoContent().With("X-Total-Count", "b"), nil
	case "status":
		return sdk.Text(99, "x"), nil
	case "switching":
		return sdk.Text(101, "x"), nil
	case "huge":
		return sdk.Text(200, strings.Repeat("x", abi.MaxBody+1)), nil
	case "headers":
		return &sdk.Response{Status: 200, Header: make([]sdk.Pair, abi.MaxHeaders+1)}, nil
	case "longheader":
		return sdk.NoContent().With("X-Total-Count", strings.Repeat("x", abi.MaxString+1)), nil
	case "teapot":
		return nil, sdk.Errorf(418, "short and %s", "stout")
	case "nostatus":
		return nil, &sdk.Error{Message: "lost"}
	case "refused":
		return nil, refusal
	case "wrapped":
		return nil, fmt.Errorf("reading: %w", refusal)
	case "secret":
		return nil, errors.New("password is hunter2")
	}
	return nil, sdk.Errorf(404, "no such answer")
}

func TestHello(t *testing.T) {
	resp := sdktest.New(t, manifest).Do(sdktest.Request{Path: "/hello", User: "bob@example.com"})
	if resp.Status != 200 || resp.Text() != "hello bob@example.com" {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
}

func TestARequestShowsAllThatTheHostSaid(t *testing.T) {
	resp := sdktest.New(t, manifest).Do(sdktest.Request{
		Method: "POST", Path: "/seen/7?q=1&q=2&z", Body: "text", Header: []abi.Pair{{Name: "Prefer", Value: "v"}},
		User: "ann", Name: "Ann", Roles: []string{"viewer"}, Teams: []string{"t"}, Timeout: 7 * time.Second,
		Namespaces: []string{"shop"}, ResourceGroups: []string{"rg"}, Redact: []string{"data"},
	})
	want := `{"action":"probe:seen.read","all":["1","2"],"body":"text","groups":["rg"],"header":"v","id":"7","intime":true,` +
		`"method":"POST","name":"Ann","namespaces":["shop"],"no":"","none":"","path":"/seen/7","q":"1","raw":"q=1\u0026q=2\u0026z",` +
		`"redact":["data"],"request":"sdktest","roles":["viewer"],"route":"seen","teams":["t"],"user":"ann"}`
	if resp.Text() != want {
		t.Errorf("got\n%s\nwant\n%s", resp.Text(), want)
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	h := sdktest.New(t, manifest)
	if resp := h.Do(sdktest.Request{Method: "POST", Path: "/body", Body: ` {"count":2} `}); resp.Status != 201 || resp.Text() != `{"count":2}` {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
	for _, body := range []string{"", "{", "[]", `{"count":"2"}`, `{"cuont":2}`, `{"count":2}{}`, `{"count":2} x`} {
		resp := h.Do(sdktest.Request{Method: "POST", Path: "/body", Body: body})
		if resp.Status != 400 || resp.Err.Message != "invalid request body" || resp.Err.Detail == "" {
			t.Errorf("%q: got %d %s", body, resp.Status, resp.Text())
		}
	}
}

func TestWhatAHandlerReturnsIsWhatTheClientGets(t *testing.T) {
	h := sdktest.New(t, manifest)
	policy := abi.Error{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "forbidden", Detail: "why"}
	failed := abi.Error{Code: abi.CodeInternal, Status: 500, Message: "the plugin failed"}
	for how, want := range map[string]abi.Error{
		"nothing":    {Status: 204},
		"empty":      {Status: 204},
		"status":     failed,
		"switching":  failed,
		"huge":       failed,
		"headers":    failed,
		"longheader": failed,
		"teapot":     {Code: abi.CodeInvalid, Status: 418, Message: "short and stout"},
		"nostatus":   {Code: abi.CodeInternal, Status: 500, Message: "lost"},
		"refused":    policy,
		"wrapped":    policy,
		"secret":     failed,
		"unknown":    {Code: abi.CodeNotFound, Status: 404, Message: "no such answer"},
	} {
		resp := h.Do(sdktest.Request{Path: "/answer/" + how})
		if resp.Status != want.Status {
			t.Errorf("%s: status %d, want %d", how, resp.Status, want.Status)
		}
		if want.Status >= 400 && (resp.Err == nil || *resp.Err != want) {
			t.Errorf("%s: error %+v, want %+v", how, resp.Err, want)
		}
		if strings.Contains(resp.Text(), "hunter2") {
			t.Errorf("%s: the error's private text reached the client: %s", how, resp.Text())
		}
	}
}

func TestAnAnswerLongerThanTheBufferIsTakenWhole(t *testing.T) {
	h := sdktest.New(t, manifest)
	size, called := 0, 0
	h.Capability("kube", func(*abi.Request) (*abi.Response, error) {
		called++
		return &abi.Response{Status: 200, Body: []byte(strings.Repeat("x", size-1) + "y")}, nil
	})
	for _, size = range []int{1, 10, 16 << 10, 1 << 20, 5, abi.MaxBody} {
		called = 0
		resp := h.Do(sdktest.Request{Path: "/fetch"})
		if resp.Status != 200 || len(resp.Body) != size || resp.Body[size-1] != 'y' {
			t.Errorf("size %d: got %d and %d bytes", size, resp.Status, len(resp.Body))
		}
		if called != 1 {
			t.Errorf("size %d: the call ran %d times", size, called)
		}
	}
}

func TestABodyLargerThanTheLastIsReceivedWhole(t *testing.T) {
	h := sdktest.New(t, manifest)
	for _, size := range []int{0, 1, 64 << 10, 1 << 20, 3} {
		resp := h.Do(sdktest.Request{Method: "POST", Path: "/seen/1", Body: strings.Repeat("b", size)})
		var got struct{ Body string }
		if err := resp.JSON(&got); err != nil || len(got.Body) != size {
			t.Errorf("size %d: got %d bytes, %v", size, len(got.Body), err)
		}
	}
}

func TestStartSeesConfigInstanceAndWhatWasDenied(t *testing.T) {
	h := sdktest.New(t, manifest)
	h.Config(map[string]string{"greeting": "moin"})
	if resp := h.Do(sdktest.Request{Path: "/config"}); resp.Text() != "probe moin true" {
		t.Errorf("got %s", resp.Text())
	}
	h = sdktest.New(t, manifest)
	h.Capability("azure", func(*abi.Request) (*abi.Response, error) { return &abi.Response{Status: 200}, nil })
	if resp := h.Do(sdktest.Request{Path: "/config"}); resp.Text() != "probe  false" {
		t.Errorf("got %s", resp.Text())
	}
	h = sdktest.New(t, manifest)
	h.Config(map[string]string{"greetnig": "moin"})
	x, ok := errors.AsType[*abi.Error](h.Start())
	if !ok || x.Code != abi.CodeStartFailed || !strings.Contains(x.Message, "greetnig") {
		t.Errorf("got %+v", x)
	}
}

func TestRegistrationMistakesPanicWithTheName(t *testing.T) {
	fine := func(*sdk.Request) (*sdk.Response, error) { return nil, nil }
	for want, register := range map[string]func(){
		`"hello" is registered twice`: func() { sdk.Handle("hello", fine) },
		`"Hello" must be`:             func() { sdk.Handle("Hello", fine) },
		`"" must be`:                  func() { sdk.Handle("", fine) },
		`"a-" must be`:                func() { sdk.Handle("a-", fine) },
		`"new" is nil`:                func() { sdk.Handle("new", nil) },
		`function is nil`:             func() { sdk.OnStart(nil) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, want) {
					t.Errorf("got %q, want %q", text, want)
				}
			}()
			register()
			t.Errorf("no panic where %q was due", want)
		}()
	}
}

func TestARequestWithoutAHostSectionNamesNobody(t *testing.T) {
	r := sdk.NewRequest(&abi.Request{Method: "GET", URL: "/a?b"})
	if r.User() != "" || r.Remaining() != 0 || r.Path() != "/a" {
		t.Errorf("got user %q, %v left, path %q", r.User(), r.Remaining(), r.Path())
	}
}

func TestOutsideAHostACapabilitySaysWhatToDo(t *testing.T) {
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "sdk/sdktest") {
			t.Errorf("got %q", text)
		}
	}()
	err := kube.Cluster("dev").Get("/api", nil)
	t.Errorf("the call returned %v", err)
}

func BenchmarkHello(b *testing.B) {
	h := sdktest.New(b, manifest)
	b.ReportAllocs()
	for b.Loop() {
		h.Do(sdktest.Request{Path: "/hello"})
	}
}

func TestNumbersAndTruthValuesOfAQueryAreCheckedByName(t *testing.T) {
	for query, want := range map[string]string{
		"": "20 <nil>", "?n=1": "1 <nil>", "?n=100": "100 <nil>", "?n=0": "n must be a number from 1 to 100", "?n=101": "n must be a number from 1 to 100",
		"?n=x": "n must be a number from 1 to 100", "?n=9999999999999999999999": "n must be a number from 1 to 100", "?n=%2B7": "7 <nil>", "?n=": "20 <nil>",
	} {
		n, err := request("/x"+query).Int("n", 20, 1, 100)
		got := fmt.Sprint(n, " ", err)
		if x, ok := errors.AsType[*sdk.Error](err); ok {
			if got = x.Message; x.Status != 400 {
				t.Errorf("%s: status %d", query, x.Status)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"": "false", "?b=true": "true", "?b=1": "true", "?b=false": "false", "?b=0": "false", "?b=yes": "b must be true or false", "?b=TRUE": "b must be true or false",
	} {
		b, err := request("/x" + query).Bool("b")
		got := fmt.Sprint(b)
		if x, ok := errors.AsType[*sdk.Error](err); ok {
			if got = x.Message; x.Status != 400 {
				t.Errorf("%s: status %d", query, x.Status)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func request(url string) *sdk.Request { return sdk.NewRequest(&abi.Request{Method: "GET", URL: url}) }

func TestTheStatusOfAnErrorIsFoundInItsChain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{{nil, 0}, {errors.New("x"), 0}, {sdk.Errorf(404, "x"), 404}, {fmt.Errorf("list: %w", sdk.Errorf(409, "x")), 409}} {
		if got := sdk.StatusOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
