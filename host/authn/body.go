package authn

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const maxBody = 4 << 10

// readJSON decodes a body of at most maxBody bytes that holds one object of
// known fields. An empty body leaves v as it is.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.Join(err, errors.New("more than one value"))
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return host.E(host.TooLarge, "authn", "the body is larger than %d bytes", maxBody)
	}
	return host.E(host.Invalid, "authn", "body: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// writeJSON answers 200. The answer is about one user at one time, so it must not
// be cached.
func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return &host.Error{Kind: host.Internal, Op: "authn", Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(append(body, '\n'))
	if err != nil {
		return nil // the client has disconnected; the status is already sent
	}
	return nil
}
