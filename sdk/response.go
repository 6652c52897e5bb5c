package sdk

import "encoding/json"

// Response answers a request. Status is an HTTP status code from 200 to 599. With 204, 205
// and 304 the answer has no body.
type Response struct {
	Status int
	Header []Pair
	Body   []byte
}

// With adds a header and returns r. Only the headers in abi.OutboundHeaders reach the
// client; Location and Link must refer to this host.
func (r *Response) With(name, value string) *Response {
	r.Header = append(r.Header, Pair{Name: name, Value: value})
	return r
}

// Bytes answers with a body of the given content type. The body is not copied.
func Bytes(status int, contentType string, body []byte) *Response {
	var all struct { // one allocation
		response Response
		header   [1]Pair
	}
	all.header[0] = Pair{Name: "Content-Type", Value: contentType}
	all.response = Response{Status: status, Header: all.header[:], Body: body}
	return &all.response
}

// Text answers with plain text.
func Text(status int, text string) *Response {
	return Bytes(status, "text/plain; charset=utf-8", []byte(text))
}

// JSON answers with v as JSON. The error is that of json.Marshal.
func JSON(status int, v any) (*Response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return Bytes(status, "application/json", body), nil
}

// NoContent answers 204.
func NoContent() *Response { return &Response{Status: 204} }
