package abi

import (
	"fmt"
	"strings"
)

// Pair is a header or a parameter. Header names are not case-sensitive.
type Pair struct{ Name, Value string }

// Request is an inbound HTTP request to the plugin, or an outbound request to a
// capability. An inbound URL is a path and query; an outbound URL is a capability URL such
// as helm://dev/shop/web.
type Request struct {
	Method string
	URL    string
	Header []Pair
	Body   []byte

	// Host is the host's data about the request. It is present in every inbound frame
	// and refused in outbound ones, so that neither clients nor guests can write it.
	Host *HostSection
}

// HostSection is the part of an inbound request that only the host writes.
type HostSection struct {
	RequestID  string
	User       string
	Name       string
	Roles      []string
	Teams      []string
	Route      string // the route's name in the manifest
	Action     string
	Params     []Pair // of the route's template
	TimeoutMS  int64  // time until the deadline when the frame was made
	Namespaces []string
	Groups     []string // resource groups that a list may show
	Redact     []string
}

// Response answers a Request. Status is an HTTP status code.
type Response struct {
	Status int
	Header []Pair
	Body   []byte
}

// Origin is the source of an Error.
type Origin uint8

const (
	OriginPlugin   Origin = 0 // the plugin itself
	OriginPolicy   Origin = 1 // policy does not permit it for this user
	OriginGrant    Origin = 2 // the operator did not grant it to this plugin
	OriginHost     Origin = 3 // the host refused or failed
	OriginUpstream Origin = 4 // the service that the host called refused or failed
)

func (o Origin) String() string {
	switch o {
	case OriginPlugin:
		return "plugin"
	case OriginPolicy:
		return "policy"
	case OriginGrant:
		return "grant"
	case OriginHost:
		return "host"
	case OriginUpstream:
		return "upstream"
	}
	return fmt.Sprintf("origin(%d)", uint8(o))
}

// Error is a refusal or failure as a frame. Code is for programs ("forbidden",
// "not_found", …), Message and Detail are for users. Status is the HTTP status for the
// client.
type Error struct {
	Code      string
	Origin    Origin
	Status    int
	Retryable bool
	Message   string
	Detail    string
}

func (e *Error) Error() string {
	s := e.Origin.String() + ": " + e.Message
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Start is passed to the plugin once, before its first request.
type Start struct {
	ABI      uint32
	Instance string   // the name in the operator's config
	Config   []byte   // JSON
	Denied   []string // optional capabilities that were not granted
}

// MessageKind is the kind of a session's message.
type MessageKind uint8

const (
	MessageText   MessageKind = 1
	MessageBinary MessageKind = 2
	MessageClose  MessageKind = 3 // the client or the host ended the session
	MessageIdle   MessageKind = 4 // the time-out of next passed without a message
	MessageEvent  MessageKind = 5 // to an event stream: an event with a name and an id; see EventData
)

// Message is one message of a session, in either direction.
type Message struct {
	Kind MessageKind
	Data []byte
}

// AppendRequest appends r's frame to b.
func AppendRequest(b []byte, r *Request) []byte {
	start := len(b)
	e := begin(b, KindRequest)
	e.str(r.Method)
	e.str(r.URL)
	e.pairs(r.Header)
	e.raw(r.Body)
	e.bool(r.Host != nil)
	if r.Host == nil {
		return e.finish(start)
	}
	h := r.Host
	e.str(h.RequestID)
	e.str(h.User)
	e.str(h.Name)
	e.strs(h.Roles)
	e.strs(h.Teams)
	e.str(h.Route)
	e.str(h.Action)
	e.pairs(h.Params)
	e.i64(h.TimeoutMS)
	e.strs(h.Namespaces)
	e.strs(h.Groups)
	e.strs(h.Redact)
	return e.finish(start)
}

// DecodeRequest decodes a Request frame.
func DecodeRequest(frame []byte) (*Request, error) {
	d := open(frame, KindRequest)
	var all struct { // one allocation
		request Request
		host    HostSection
		room    room
	}
	r, h, room := &all.request, &all.host, &all.room
	r.Method = d.str("method")
	r.URL = d.str("url")
	r.Header = d.pairs("header", MaxHeaders, room)
	r.Body = d.raw("body", MaxBody)
	if d.bool("host section") {
		r.Host = h
		h.RequestID = d.str("request id")
		h.User = d.str("user")
		h.Name = d.str("name")
		h.Roles = d.strs("roles", room)
		h.Teams = d.strs("teams", room)
		h.Route = d.str("route")
		h.Action = d.str("action")
		h.Params = d.pairs("params", MaxList, room)
		h.TimeoutMS = d.i64("timeout")
		h.Namespaces = d.strs("namespaces", room)
		h.Groups = d.strs("groups", room)
		h.Redact = d.strs("redact", room)
	}
	return result(r, &d)
}

// AppendResponse appends r's frame to b.
func AppendResponse(b []byte, r *Response) []byte {
	start := len(b)
	e := begin(b, KindResponse)
	e.u32(uint32(r.Status))
	e.pairs(r.Header)
	e.raw(r.Body)
	return e.finish(start)
}

// AppendResponseHead appends r's frame to b without the bytes of its body, which are the
// end of the frame, so that the caller need not copy them.
func AppendResponseHead(b []byte, r *Response) []byte {
	start := len(b)
	e := begin(b, KindResponse)
	e.u32(uint32(r.Status))
	e.pairs(r.Header)
	return e.finishHead(start, r.Body)
}

// DecodeResponse decodes a Response frame. A status outside 100 to 599 is an
// error.
func DecodeResponse(frame []byte) (*Response, error) {
	d := open(frame, KindResponse)
	var all struct { // one allocation
		response Response
		room     room
	}
	r := &all.response
	r.Status = d.status()
	r.Header = d.pairs("header", MaxHeaders, &all.room)
	r.Body = d.raw("body", MaxBody)
	return result(r, &d)
}

// AppendError appends x's frame to b. Message and Detail are truncated to MaxString bytes,
// since they often contain the text of an upstream.
func AppendError(b []byte, x *Error) []byte {
	start := len(b)
	e := begin(b, KindError)
	e.str(x.Code)
	e.u8(uint8(x.Origin))
	e.u32(uint32(x.Status))
	e.bool(x.Retryable)
	e.str(clip(x.Message))
	e.str(clip(x.Detail))
	return e.finish(start)
}

// DecodeError decodes an Error frame. A status below 400 is an error.
func DecodeError(frame []byte) (*Error, error) {
	d := open(frame, KindError)
	x := &Error{
		Code:      d.str("code"),
		Origin:    Origin(d.u8("origin")),
		Status:    d.status(),
		Retryable: d.bool("flags"),
		Message:   d.str("message"),
		Detail:    d.str("detail"),
	}
	if d.err == nil && x.Status < 400 {
		d.fail("status", fmt.Sprintf("is %d, which is not the status of an error", x.Status))
	}
	if x.Origin > OriginUpstream {
		d.fail("origin", "is unknown")
	}
	return result(x, &d)
}

// AppendStart appends s's frame to b.
func AppendStart(b []byte, s *Start) []byte {
	start := len(b)
	e := begin(b, KindStart)
	e.u32(s.ABI)
	e.str(s.Instance)
	e.raw(s.Config)
	e.strs(s.Denied)
	return e.finish(start)
}

// DecodeStart decodes a Start frame.
func DecodeStart(frame []byte) (*Start, error) {
	d := open(frame, KindStart)
	s := &Start{
		ABI:      d.u32("abi"),
		Instance: d.str("instance"),
		Config:   d.raw("config", MaxBody),
		Denied:   d.strs("denied", new(room)),
	}
	return result(s, &d)
}

// AppendMessage appends m's frame to b.
func AppendMessage(b []byte, m *Message) []byte {
	start := len(b)
	e := begin(b, KindMessage)
	e.u8(uint8(m.Kind))
	e.raw(m.Data)
	return e.finish(start)
}

// AppendMessageHead appends m's frame to b without the bytes of its data, which are the
// end of the frame.
func AppendMessageHead(b []byte, m *Message) []byte {
	start := len(b)
	e := begin(b, KindMessage)
	e.u8(uint8(m.Kind))
	return e.finishHead(start, m.Data)
}

// DecodeMessage decodes a Message frame.
func DecodeMessage(frame []byte) (*Message, error) {
	d := open(frame, KindMessage)
	m := &Message{Kind: MessageKind(d.u8("message kind")), Data: d.raw("data", MaxBody)}
	if m.Kind < MessageText || m.Kind > MessageEvent {
		d.fail("message kind", "is unknown")
	}
	return result(m, &d)
}

// DecodeReply decodes the result of an entry or a fetch: a Response, or an *Error as err.
// The error for any other frame is a *FrameError.
func DecodeReply(frame []byte) (*Response, error) {
	kind, err := KindOf(frame)
	if err != nil {
		return nil, err
	}
	if kind != KindError {
		return DecodeResponse(frame)
	}
	x, err := DecodeError(frame)
	if err != nil {
		return nil, err
	}
	return nil, x
}

func (d *decoder) status() int {
	n := int(d.u32("status"))
	if d.err == nil && (n < 100 || n > 599) {
		d.fail("status", fmt.Sprintf("is %d", n))
	}
	return n
}

func result[T any](v *T, d *decoder) (*T, error) {
	if err := d.done(); err != nil {
		return nil, err
	}
	return v, nil
}

func clip(s string) string {
	if len(s) > MaxString {
		return strings.ToValidUTF8(s[:MaxString], "")
	}
	return s
}
