package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Location is where an artifact that is followed comes from. Exactly one of File, URL
// and OCI is set.
type Location struct {
	File string `json:"file,omitempty"` // a path; changes of the file are followed
	// URL is asked for the file again and again, with the ETag of the last one.
	// Plain http is for loopback.
	URL string `json:"url,omitempty"`
	// OCI is REGISTRY/REPOSITORY:TAG or @DIGEST of an artifact with the file as its
	// one layer of the type application/vnd.oci.image.layer.v1.tar+gzip.
	OCI string `json:"oci,omitempty"`
	// Poll is how often URL and OCI are asked; 0 means 30s. At least 1s.
	Poll host.Duration `json:"poll,omitempty"`
	Access
}

// Remote reports whether l is fetched over the network.
func (l *Location) Remote() bool { return l.URL != "" || l.OCI != "" }

// reference is l in the syntax of all references.
func (l *Location) reference() (Reference, error) {
	switch {
	case l.OCI != "":
		return ParseReference(schemeOCI + "://" + l.OCI)
	case l.URL != "":
		return parseURL(l.URL)
	}
	return parseFile(l.File, l.File)
}

// Problems calls report for every mistake in l that can be seen without opening
// anything, with its field: ".url", or "" for l as a whole.
func (l *Location) Problems(report func(field, text string)) {
	bad := reporter(report)
	places := 0
	for _, place := range []string{l.File, l.URL, l.OCI} {
		if place != "" {
			places++
		}
	}
	bad(places != 1, "", "needs exactly one of file, url and oci")
	if _, err := parseURL(l.URL); l.URL != "" && err != nil {
		report(".url", err.Error())
	}
	if _, err := ParseReference(schemeOCI + "://" + l.OCI); l.OCI != "" && err != nil {
		bad(true, ".oci", "%q is not REGISTRY/REPOSITORY:TAG or @DIGEST", l.OCI)
	}
	poll := time.Duration(l.Poll)
	bad(poll != 0 && poll < minPoll, ".poll", "is less than %v", minPoll)
	bad(!l.Remote() && (poll != 0 || l.Access != Access{}), "", "poll, tokenFile, user and caFile are for url and oci")
	bad(l.User != "" && l.TokenFile == "", ".user", "needs tokenFile")
}

// Paths returns the fields of l that hold paths of files.
func (l *Location) Paths() []*string { return append(l.Access.Paths(), &l.File) }

// What Poll is when it is not given, and the least that it may be.
const (
	defaultPoll = 30 * time.Second
	minPoll     = time.Second
)

// Format is a kind of artifact.
type Format[T comparable] struct {
	Field string // of the configuration, in errors: "bundle"
	Limit int64  // the largest artifact, in bytes
	// Verify verifies and reads an artifact. Its errors begin with origin.
	Verify func(packed []byte, origin string) (T, Claims, error)
	// Signed says that Verify verifies a signature, so that the claims are trusted:
	// an artifact older than the last published one is refused.
	Signed bool
}

// Source is one place. Its methods are not safe for concurrent use.
type Source[T comparable] interface {
	// Load returns what is there now. An error wraps ErrUnreachable if the place
	// did not answer; any other says what is wrong with what is there.
	Load(ctx context.Context) (T, error)
	// Run calls changed, on its own goroutine, each time that Load may return
	// something else, and ends when ctx is done. It is called once.
	Run(ctx context.Context, changed func())
	// Publish notes that content, which Load returned last, is about to be in use: it
	// is what a start finds while the place is away, and nothing older is loaded from
	// now on. An error says why it must not be in use.
	Publish(content T) error
	// Close frees what Open took, if Run is never called.
	Close() error
}

// ErrUnreachable says nothing about the artifact itself.
var ErrUnreachable = errors.New("cannot be reached")

// Open opens what l names, which has no Problems. The last published artifact
// from elsewhere is kept in the directory keep, if that is not empty.
func Open[T comparable](l Location, f Format[T], keep string, log *slog.Logger) (Source[T], error) {
	if l.File != "" {
		return openFile(l.File, f, log)
	}
	return openRemote(l, f, keep, log)
}

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a named pipe would wait for a writer
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packed, err := readBounded(f, limit)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return packed, err
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	packed, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(packed)) > limit {
		err = tooLarge(limit)
	}
	return packed, err
}

// tooLarge is the error about an artifact over so many bytes.
type tooLarge int64

func (limit tooLarge) Error() string {
	return fmt.Sprintf("it is larger than %d MiB", int64(limit)>>20)
}
