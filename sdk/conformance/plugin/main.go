// The conformance plugin of the Go SDK: it does what the suite asks, by route. Those
// of the other SDKs do the same; ../PROMISES.md says what each route is for.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/exec"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/log"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func main() {}

func init() {
	guest.OnStart(start)
	guest.HandleRoute("echo", func(r *abi.Request) (*abi.Response, error) {
		return &abi.Response{Status: 200, Body: abi.AppendRequest(nil, r)}, nil
	})
	sdk.Handle("read", read)
	sdk.Handle("frames", frames)
	sdk.Handle("respond", respond)
	sdk.Handle("fill", fill)
	sdk.Handle("fail", fail)
	sdk.Handle("call", call)
	sdk.Handle("started", func(*sdk.Request) (*sdk.Response, error) {
		return sdk.Bytes(200, "text/plain", started), nil
	})
	sdk.Handle("count", func(*sdk.Request) (*sdk.Response, error) {
		count++
		kept = append(kept, 'x')
		return sdk.Text(200, fmt.Sprint(count, " ", len(kept))), nil
	})
	sdk.Handle("live", live)
	sdk.Handle("grow", grow)
	sdk.Handle("spin", func(*sdk.Request) (*sdk.Response, error) {
		for {
			count++
		}
	})
	sdk.Handle("trap", func(*sdk.Request) (*sdk.Response, error) { panic("trap was asked for") })
	sdk.Handle("log", func(r *sdk.Request) (*sdk.Response, error) {
		write := map[string]func(string, ...any){"debug": log.Debug, "info": log.Info, "warn": log.Warn, "error": log.Error}
		write[r.Query("level")](string(r.Body()))
		return nil, nil
	})
	sdk.Handle("nothing", func(*sdk.Request) (*sdk.Response, error) { return sdk.NoContent(), nil })
	session.Handle("talk", talk)
	session.Handle("splice", splice)
	session.Handle("events", events)
}

// What the start leaves, and requests change.
var (
	started []byte
	count   int
	kept    = []byte("x")
)

func start(s *abi.Start) error {
	config := string(s.Config)
	if strings.Contains(config, `"refuse"`) {
		return errors.New("the configuration asks to refuse")
	}
	started = frame(nil, abi.AppendStart(nil, s))
	if strings.Contains(config, `"call"`) {
		_, reply := outbound(&abi.Request{Method: "GET", URL: "kube://dev/api/v1/pods"})
		started = frame(started, reply)
	}
	count = 100
	return nil
}

// frame appends a frame with its length before it.
func frame(to, f []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(to, uint32(len(f))), f...)
}

func read(r *sdk.Request) (*sdk.Response, error) {
	left := "none"
	if r.Remaining() > 0 {
		left = "some"
	}
	list := func(s []string) string { return strings.Join(s, ",") }
	return sdk.Text(200, strings.Join([]string{
		r.Method(), r.Path(), r.RawQuery(), r.Query("a"), r.Query("absent"), list(r.Values()["many"]),
		r.Header("content-TYPE"), r.Header("absent"), r.Param("first"), r.Param("second"), r.Param("absent"),
		r.User(), r.Name(), list(r.Roles()), list(r.Teams()), r.Route(), r.Action(), r.RequestID(),
		list(r.Namespaces()), list(r.ResourceGroups()), list(r.Redact()), left, string(r.Body()),
	}, "\n")), nil
}

// frames decodes each frame of the body and answers with what it encodes to again, or
// with "!" and the field that is wrong.
func frames(r *sdk.Request) (*sdk.Response, error) {
	var out []byte
	for b := r.Body(); len(b) > 0; {
		n := binary.LittleEndian.Uint32(b)
		again, err := recode(b[4 : 4+n])
		if bad, ok := errors.AsType[*abi.FrameError](err); ok {
			again = []byte("!" + bad.Field)
		}
		out = frame(out, again)
		b = b[4+n:]
	}
	return sdk.Bytes(200, "application/octet-stream", out), nil
}

func recode(f []byte) ([]byte, error) {
	kind, err := abi.KindOf(f)
	if err != nil {
		return nil, err
	}
	switch kind {
	case abi.KindRequest:
		return again(f, abi.DecodeRequest, abi.AppendRequest)
	case abi.KindResponse:
		return again(f, abi.DecodeResponse, abi.AppendResponse)
	case abi.KindError:
		return again(f, abi.DecodeError, abi.AppendError)
	case abi.KindStart:
		return again(f, abi.DecodeStart, abi.AppendStart)
	case abi.KindMessage:
		return again(f, abi.DecodeMessage, abi.AppendMessage)
	}
	return nil, &abi.FrameError{Field: "kind"}
}

func again[T any](f []byte, decode func([]byte) (*T, error), encode func([]byte, *T) []byte) ([]byte, error) {
	v, err := decode(f)
	if err != nil {
		return nil, err
	}
	return encode(nil, v), nil
}

func respond(r *sdk.Request) (*sdk.Response, error) {
	resp, err := abi.DecodeResponse(r.Body())
	return (*sdk.Response)(resp), err
}

func number(r *sdk.Request, name string) int {
	n, _ := strconv.Atoi(r.Query(name))
	return n
}

func headers(r *sdk.Request) (list []abi.Pair) {
	for range number(r, "headers") {
		list = append(list, abi.Pair{Name: "X-Many", Value: "v"})
	}
	if n := number(r, "value"); n > 0 {
		list = append(list, abi.Pair{Name: "X-Long", Value: strings.Repeat("v", n)})
	}
	return list
}

func fill(r *sdk.Request) (*sdk.Response, error) {
	return &sdk.Response{Status: number(r, "status"), Header: headers(r), Body: []byte(strings.Repeat("b", number(r, "body")))}, nil
}

func fail(r *sdk.Request) (*sdk.Response, error) {
	x, err := abi.DecodeError(r.Body())
	if err != nil {
		return nil, err
	}
	if status := number(r, "status"); status > 0 {
		x.Status = status
	}
	return nil, x
}

func call(r *sdk.Request) (*sdk.Response, error) {
	if r.Query("on") == "helm" {
		_, err := helm.Cluster("dev").Releases("shop", helm.Page{})
		return nil, err
	}
	q, err := abi.DecodeRequest(r.Body())
	if err != nil {
		return nil, err
	}
	q.Header = append(q.Header, headers(r)...)
	q.URL += strings.Repeat("u", number(r, "url"))
	if n := number(r, "body"); n > 0 {
		q.Body = make([]byte, n)
	}
	err, reply := outbound(q)
	if err != nil && r.Query("pass") != "" {
		return nil, err
	}
	if r.Query("again") != "" {
		_, reply = outbound(q)
	}
	return sdk.Bytes(200, "application/octet-stream", reply), nil
}

// outbound makes a call and returns the frame of its answer, too.
func outbound(q *abi.Request) (err error, reply []byte) {
	cluster, path, _ := strings.Cut(strings.TrimPrefix(q.URL, "kube://"), "/")
	resp, err := kube.Cluster(cluster).Fetch(q.Method, "/"+path, q.Header, q.Body)
	if x, ok := errors.AsType[*abi.Error](err); ok {
		return err, abi.AppendError(nil, x)
	}
	return nil, abi.AppendResponse(nil, (*abi.Response)(resp))
}

func live(*sdk.Request) (*sdk.Response, error) {
	var b [16]byte
	rand.Read(b[:])
	return sdk.Text(200, fmt.Sprint(time.Now().UnixNano(), " ", hex.EncodeToString(b[:]))), nil
}

func grow(r *sdk.Request) (*sdk.Response, error) {
	kept = make([]byte, number(r, "bytes"))
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
	return sdk.Text(200, strconv.Itoa(len(kept))), nil
}

// talk does what a text message says, and sends every other message back.
func talk(r *sdk.Request, s *session.Session) error {
	if status := number(r, "refuse"); status > 0 {
		return sdk.Errorf(status, "the session is refused")
	}
	for {
		m, err := s.Next(0)
		if err != nil {
			return session.Done(err)
		}
		if m.Kind == session.Text {
			word, rest, _ := strings.Cut(string(m.Data), " ")
			n, _ := strconv.Atoi(rest)
			switch word {
			case "bye":
				return nil
			case "fail":
				return sdk.Errorf(n, "failure was asked for")
			case "count":
				count++
				m.Data = []byte(strconv.Itoa(count))
			case "idle":
				_, err := s.Next(time.Duration(n) * time.Millisecond)
				m.Data = []byte(word + " " + outcome(err))
			case "big":
				m = session.Message{Kind: session.Binary, Data: make([]byte, n)}
			case "garble":
				m.Data = []byte(word + " " + outcome(s.Send(session.Message{Kind: session.Text, Data: []byte("\xff")})))
			case "splice":
				m.Data = []byte(word + " " + outcome(s.Splice(1)))
			case "close":
				code, reason, _ := strings.Cut(rest, " ")
				n, _ := strconv.Atoi(code)
				if err := s.Close(n, reason); err == nil {
					return nil
				}
				m.Data = []byte(word + " invalid")
			}
		}
		if err := s.Send(m); err != nil {
			return session.Done(err)
		}
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case err == session.ErrTimeout:
		return "timed out"
	case err == session.ErrClosed:
		return "closed"
	case strings.Contains(err.Error(), "state"):
		return "refused"
	}
	return "invalid"
}

// splice opens as many streams as the query says and hands the client to the last.
func splice(r *sdk.Request, s *session.Session) error {
	var stream sdk.Stream
	for range max(1, number(r, "open")) {
		var err error
		stream, err = exec.Open(exec.Target{Cluster: "dev", Namespace: "shop", Pod: "web", Command: []string{"sh"}})
		if err != nil {
			return err
		}
	}
	if n := number(r, "stream"); n > 0 {
		stream = sdk.Stream(n)
	}
	if r.Query("leave") != "" {
		return sdk.Errorf(409, "left")
	}
	if err := s.Splice(stream); err != nil {
		return sdk.Errorf(409, "splice %s", outcome(err))
	}
	if r.Query("after") != "" {
		log.Warn("after splice: " + outcome(s.SendText("more")))
	}
	return nil
}

func events(r *sdk.Request, s *session.Session) error {
	for i := range number(r, "n") {
		if err := s.SendText("event " + strconv.Itoa(i)); err != nil {
			return session.Done(err)
		}
	}
	return nil
}
