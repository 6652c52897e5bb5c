package state

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Uploads are files that every replica can read, by the SHA-256 of their content.
// Each is stored in sealed chunks below a random id. One record, the index, says
// which ids are whole and which are being written; all changes of it are conditional
// on what was read. What the index does not name is removed.

const (
	chunkBytes = 512 << 10
	// MaxUpload is the most bytes of one upload.
	MaxUpload = 48 << 20
	// maxUploads bounds what all uploads hold together, those that are being written
	// included; maxHeld also what was removed within freedLife, since a store keeps it
	// until it compacts.
	maxUploads = 96 << 20
	maxHeld    = 2 * maxUploads
	maxEntries = 256 // of the index

	uploadLife = 10 * time.Minute // of one that does not get on
	unusedLife = time.Hour        // of one that no Desired names
	freedLife  = time.Hour
	maxTries   = 8 // of a change that others come before
)

var errBusyIndex = host.E(host.Unavailable, "state.upload", "other uploads or changes are under way; try again")

// Upload describes a file in the store.
type Upload struct {
	Digest string      `json:"digest"` // "sha256:" and 64 hexadecimal digits
	Bytes  int64       `json:"bytes"`
	By     host.UserID `json:"by"`
	At     time.Time   `json:"at"` // when it was written, or last put to use
}

// index is the record of what uploads there are.
type index struct {
	Whole   map[string]stored   // by digest
	Writing map[string]reserved // by id
	Freed   []freed

	revision int64 // of the store when it was read
}

type stored struct {
	Upload
	ID string
}

type reserved struct {
	Bytes int64
	At    time.Time
}

type freed struct {
	Bytes int64
	At    time.Time
}

// use notes that a Desired names these uploads.
func (x *index) use(digests []string, now time.Time) error {
	for _, digest := range digests {
		u, ok := x.Whole[digest]
		if !ok {
			return host.E(host.NotFound, "state.upload", "there is no upload %s: upload the file again", digest)
		}
		u.At = now
		x.Whole[digest] = u
	}
	return nil
}

// held is how many bytes count against the two limits.
func (x *index) held(now time.Time) (live, all int64) {
	for _, u := range x.Whole {
		live += u.Bytes
	}
	for _, r := range x.Writing {
		live += r.Bytes
	}
	all = live
	for _, f := range x.Freed {
		if now.Sub(f.At) < freedLife {
			all += f.Bytes
		}
	}
	return live, all
}

// reserve makes room for an upload.
func (x *index) reserve(id string, bytes int64, now time.Time) error {
	live, all := x.held(now)
	switch {
	case len(x.Whole)+len(x.Writing) >= maxEntries:
		return host.E(host.Limited, "state.upload", "the store holds %d uploads, which is the most; remove plugins that are not needed", maxEntries)
	case live+bytes > maxUploads:
		return host.E(host.Limited, "state.upload", "the store holds %d bytes of uploads, and %d more are over its %d; remove plugins that are not needed, "+
			"or refer to a registry", live, bytes, int64(maxUploads))
	case all+bytes > maxHeld:
		return host.E(host.Limited, "state.upload", "%d bytes were uploaded within an hour, and may be %d; wait, or refer to a registry", all, int64(maxHeld))
	}
	if x.Writing == nil {
		x.Writing = map[string]reserved{}
	}
	x.Writing[id] = reserved{bytes, now}
	return nil
}

// release gives up an id. What was written counts as freed.
func (x *index) release(id string, written int64, now time.Time) {
	delete(x.Writing, id)
	if written > 0 {
		x.Freed = append(x.Freed, freed{written, now})
	}
}

// sweep drops what has had its time: what no Desired names, what does not get on,
// and notes of what was freed. It reports whether anything changed.
func (x *index) sweep(used map[string]bool, now time.Time) (changed bool) {
	for digest, u := range x.Whole {
		if !used[digest] && now.Sub(u.At) > unusedLife {
			delete(x.Whole, digest)
			x.Freed = append(x.Freed, freed{u.Bytes, now})
			changed = true
		}
	}
	for id, r := range x.Writing {
		if now.Sub(r.At) > uploadLife {
			x.release(id, r.Bytes, now)
			changed = true
		}
	}
	before := len(x.Freed)
	x.Freed = slices.DeleteFunc(x.Freed, func(f freed) bool { return now.Sub(f.At) > freedLife })
	return changed || len(x.Freed) != before
}

// names reports whether the chunks below id are in use.
func (x *index) names(id string) bool {
	if _, ok := x.Writing[id]; ok {
		return true
	}
	for _, u := range x.Whole {
		if u.ID == id {
			return true
		}
	}
	return false
}

func (s *Store) readIndex(ctx context.Context) (*index, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, s.at.uploads)
	if err != nil {
		return nil, unavailable("state.upload", err)
	}
	x := &index{Whole: map[string]stored{}}
	if len(resp.Kvs) == 0 {
		return x, nil
	}
	if err := s.seal.open(s.at.uploads, resp.Kvs[0].Value, x); err != nil {
		return nil, host.E(host.Internal, "state.upload", "the index of uploads in the state store is not genuine: %w", err)
	}
	if x.Whole == nil {
		x.Whole = map[string]stored{}
	}
	x.revision = resp.Kvs[0].ModRevision
	return x, nil
}

// writeIndex is the condition and the operation that replace the index as it was read.
func (s *Store) writeIndex(x *index) (clientv3.Cmp, clientv3.Op, error) {
	sealed, err := s.seal.seal(s.at.uploads, x)
	if err != nil {
		return clientv3.Cmp{}, clientv3.Op{}, host.E(host.Internal, "state.upload", "%w", err)
	}
	return clientv3.Compare(clientv3.ModRevision(s.at.uploads), "=", x.revision), clientv3.OpPut(s.at.uploads, sealed), nil
}

// changeIndex has edit change the index, again if another change came before. An
// error of edit, or false, leaves it as it is.
func (s *Store) changeIndex(ctx context.Context, edit func(*index) (bool, error)) error {
	for range maxTries {
		x, err := s.readIndex(ctx)
		if err != nil {
			return err
		}
		if change, err := edit(x); err != nil || !change {
			return err
		}
		cmp, op, err := s.writeIndex(x)
		if err != nil {
			return err
		}
		done, err := s.swapIndex(ctx, cmp, op)
		if err != nil || done {
			return err
		}
	}
	return errBusyIndex
}

func (s *Store) swapIndex(ctx context.Context, cmp clientv3.Cmp, op clientv3.Op) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).If(cmp).Then(op).Commit()
	if err != nil {
		return false, unavailable("state.upload", err)
	}
	return resp.Succeeded, nil
}

// Upload stores what r yields, at most most bytes (MaxUpload if 0 or more than that),
// so that every replica can read it. bytes is how many there will be, 0 if that is
// not known. An error of kind TooLarge is of a longer one, of kind Limited of a full
// store. After an error nothing of it counts, and after an hour nothing is left.
// Unless a Desired names it within an hour, an upload is removed.
func (s *Store) Upload(ctx context.Context, r io.Reader, bytes, most int64, by host.UserID) (_ Upload, err error) {
	if most <= 0 || most > MaxUpload {
		most = MaxUpload
	}
	if bytes > most {
		return Upload{}, host.E(host.TooLarge, "state.upload", "the file has %d bytes, and may have %d", bytes, most)
	}
	if bytes <= 0 {
		bytes = most
	}
	if err := s.Ready(); err != nil {
		return Upload{}, err
	}
	id := rand.Text()
	if err := s.changeIndex(ctx, func(x *index) (bool, error) { return true, x.reserve(id, bytes, time.Now()) }); err != nil {
		return Upload{}, err
	}
	digest, n, err := s.writeChunks(ctx, id, r, bytes, most)
	u := Upload{Digest: digest, Bytes: n, By: by, At: time.Now().Round(0)}
	if err == nil {
		err = s.finishUpload(ctx, id, &u)
	}
	if err != nil {
		s.abandonUpload(ctx, id, n)
		return Upload{}, err
	}
	return u, nil
}

// writeChunks stores what r yields below id.
func (s *Store) writeChunks(ctx context.Context, id string, r io.Reader, bytes, most int64) (digest string, n int64, err error) {
	sum := sha256.New()
	buf := make([]byte, chunkBytes)
	for i := 0; ; i++ {
		got, err := io.ReadFull(r, buf)
		n += int64(got)
		switch {
		case n > most:
			return "", n, host.E(host.TooLarge, "state.upload", "the file has more than %d bytes", most)
		case n > bytes:
			return "", n, host.E(host.Invalid, "state.upload", "the file has more than the %d bytes that were announced", bytes)
		}
		if got > 0 {
			sum.Write(buf[:got])
			place := s.at.chunk(id, i)
			sealed := s.seal.aead.Seal(nil, nil, buf[:got], []byte(place))
			if _, err := s.commit(ctx, "state.upload", clientv3.OpPut(place, string(sealed))); err != nil {
				return "", n, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return "", n, err
		}
	}
	if n == 0 {
		return "", 0, host.E(host.Invalid, "state.upload", "the file is empty")
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), n, nil
}

// finishUpload makes the chunks below id an upload, or, if there is one of this
// digest, keeps that one.
func (s *Store) finishUpload(ctx context.Context, id string, u *Upload) error {
	spare := false
	err := s.changeIndex(ctx, func(x *index) (bool, error) {
		if _, ok := x.Writing[id]; !ok {
			return false, host.E(host.Unavailable, "state.upload", "the upload took longer than %v; try again", uploadLife)
		}
		old, exists := x.Whole[u.Digest]
		if spare = exists; exists {
			old.At = u.At
			x.Whole[u.Digest] = old
			x.release(id, u.Bytes, u.At)
			return true, nil
		}
		delete(x.Writing, id)
		x.Whole[u.Digest] = stored{*u, id}
		return true, nil
	})
	if err == nil && spare {
		s.removeChunks(ctx, id)
	}
	return err
}

// abandonUpload gives up what was written. If that fails the sweeper does it.
func (s *Store) abandonUpload(ctx context.Context, id string, written int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	err := s.changeIndex(ctx, func(x *index) (bool, error) { x.release(id, written, time.Now()); return true, nil })
	if err == nil {
		s.removeChunks(ctx, id)
	}
}

func (s *Store) removeChunks(ctx context.Context, id string) {
	if _, err := s.commit(ctx, "state.upload", clientv3.OpDelete(s.at.chunksOf(id), clientv3.WithPrefix())); err != nil {
		s.log.Debug("chunks of an upload are left for the sweeper", "error", err)
	}
}

// ReadUpload returns an upload, checked by its digest. It fails with kind NotFound if
// the store does not hold it, and TooLarge if it has more than most bytes.
func (s *Store) ReadUpload(ctx context.Context, digest string, most int64) ([]byte, error) {
	x, err := s.readIndex(ctx)
	if err != nil {
		return nil, err
	}
	u, ok := x.Whole[digest]
	switch {
	case !ok:
		return nil, host.E(host.NotFound, "state.upload", "there is no upload %s in the store", digest)
	case u.Bytes > most || u.Bytes > MaxUpload || u.Bytes <= 0:
		return nil, host.E(host.TooLarge, "state.upload", "the upload %s has %d bytes, and may have %d", digest, u.Bytes, most)
	}
	content := make([]byte, 0, u.Bytes)
	for i := 0; int64(len(content)) < u.Bytes; i++ {
		part, err := s.readChunk(ctx, s.at.chunk(u.ID, i))
		if err != nil {
			return nil, err
		}
		if len(part) == 0 || int64(len(content)+len(part)) > u.Bytes {
			return nil, host.E(host.Internal, "state.upload", "the upload %s is damaged in the store", digest)
		}
		content = append(content, part...)
	}
	if sum := sha256.Sum256(content); digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return nil, host.E(host.Internal, "state.upload", "the upload %s is damaged in the store: it has another digest", digest)
	}
	return content, nil
}

func (s *Store) readChunk(ctx context.Context, place string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, place)
	if err != nil {
		return nil, unavailable("state.upload", err)
	}
	if len(resp.Kvs) == 0 {
		return nil, host.E(host.NotFound, "state.upload", "a part of the upload is missing in the store")
	}
	part, err := s.seal.aead.Open(nil, nil, resp.Kvs[0].Value, []byte(place))
	if err != nil {
		return nil, host.E(host.Internal, "state.upload", "a part of the upload is not genuine")
	}
	return part, nil
}

// sweepUploads removes what no Desired names any more, and chunks that the index
// does not name. PutDesired changes the index, so that nothing is removed that has
// been put to use meanwhile.
func (s *Store) sweepUploads(ctx context.Context, now time.Time) {
	if s.Ready() != nil {
		return
	}
	var current *index
	err := s.changeIndex(ctx, func(x *index) (bool, error) {
		used := map[string]bool{}
		list, _ := s.Desired()
		for _, d := range list {
			for _, digest := range d.Uploads {
				used[digest] = true
			}
		}
		current = x
		return x.sweep(used, now), nil
	})
	if err != nil {
		s.log.Debug("uploads cannot be swept", "error", err)
		return
	}
	ids, err := s.chunkIDs(ctx)
	if err != nil {
		return
	}
	for _, id := range ids {
		if !current.names(id) {
			s.removeChunks(ctx, id)
		}
	}
}

// chunkIDs lists the ids below which there are chunks.
func (s *Store) chunkIDs(ctx context.Context) (ids []string, err error) {
	for from, end := s.at.chunks, clientv3.GetPrefixRangeEnd(s.at.chunks); ; {
		ctx, cancel := context.WithTimeout(ctx, opTimeout)
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
		cancel()
		if err != nil {
			return nil, err
		}
		if len(resp.Kvs) == 0 {
			return ids, nil
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(string(resp.Kvs[0].Key), s.at.chunks), "/")
		ids = append(ids, id)
		from = clientv3.GetPrefixRangeEnd(s.at.chunksOf(id))
	}
}

func (p *keySpace) chunksOf(id string) string { return p.chunks + id + "/" }

func (p *keySpace) chunk(id string, n int) string { return p.chunksOf(id) + fmt.Sprintf("%04x", n) }
