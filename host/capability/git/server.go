package git

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// server is a conversation with git-upload-pack about one repository (gitprotocol-pack(5)).
// Its methods are called in this order, once each; ask may be left out.
type server interface {
	// advertisement returns the list of refs. The reader is valid until ask or close.
	advertisement() (io.Reader, error)
	// ask sends a request and returns the answer.
	ask(send func(io.Writer) error) (io.ReadCloser, error)
	close()
}

const (
	maxAdvertisement = 16 << 20 // bytes of the list of refs
	maxPack          = 64 << 20 // bytes of a commit's objects, packed
)

// advertisedBy reads the list of refs.
func advertisedBy(s server) (*packp.AdvRefs, error) {
	r, err := s.advertisement()
	if err != nil {
		return nil, err
	}
	bounded := &io.LimitedReader{R: r, N: maxAdvertisement}
	a := packp.NewAdvRefs()
	switch err := a.Decode(bounded); {
	case bounded.N == 0:
		return nil, host.E(host.Unprocessable, name, "the server's list of refs is over %d bytes", maxAdvertisement)
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, host.E(host.NotFound, name, "the repository is empty")
	case errors.Is(err, packp.ErrEmptyInput):
		// Over ssh, the server has said why on its standard error.
		return nil, notFound()
	case err != nil:
		return nil, fmt.Errorf("list of refs: %w", err)
	}
	return a, nil
}

func notFound() error {
	return host.E(host.NotFound, name, "the repository does not exist, or the host's credentials do not reach it")
}

// fetch asks for one commit, without its history, and writes its packed objects to w.
func fetch(s server, a *packp.AdvRefs, want plumbing.Hash, w io.Writer) error {
	req := packp.NewUploadPackRequest()
	req.Wants = []plumbing.Hash{want}
	req.Depth = packp.DepthCommits(1)
	for _, c := range []capability.Capability{
		// multi_ack changes nothing for a request that has no commits, but some
		// servers refuse requests without it.
		capability.MultiACKDetailed, capability.OFSDelta, capability.Sideband64k, capability.NoProgress, capability.Shallow,
	} {
		if !a.Capabilities.Supports(c) {
			continue
		}
		if err := req.Capabilities.Set(c); err != nil {
			return err
		}
	}
	if !req.Capabilities.Supports(capability.Shallow) {
		return host.E(host.Unprocessable, name, "the server cannot send a commit without its history")
	}
	answer, err := s.ask(func(to io.Writer) error {
		if err := req.UploadRequest.Encode(to); err != nil {
			return err
		}
		return pktline.NewEncoder(to).EncodeString("done\n")
	})
	if err != nil {
		return err
	}
	defer answer.Close()
	resp := packp.NewUploadPackResponse(req)
	if err := resp.Decode(answer); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	var r io.Reader = resp
	if req.Capabilities.Supports(capability.Sideband64k) {
		r = sideband.NewDemuxer(sideband.Sideband64k, resp)
	}
	_, err = io.Copy(w, r)
	return err
}

// limited is a writer that refuses more than a number of bytes.
type limited struct {
	io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, host.E(host.Unprocessable, name, "the commit is too large: its packed objects are over the bound of the host")
	}
	return l.Writer.Write(p)
}
