package state

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	hostKeySize = 32
	hostKeyName = "host.key" // in the data directory
)

// openHostKey reads the host key. If it is missing and create is set, openHostKey
// creates one. That is allowed for an empty store only: a new key cannot decrypt an old
// store, and would hide that the old key was lost.
func openHostKey(path string, create bool) (*sealer, error) {
	key, err := readHostKey(path, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, host.E(host.Invalid, "state.open", "host key %s is missing, but the state beside it is sealed with it; restore the key", path)
		}
		if key, err = createHostKey(path); err != nil {
			err = host.E(host.Internal, "state.open", "host key %s cannot be created: %w", path, err)
		}
	}
	if err != nil {
		return nil, err
	}
	return newSealer(key)
}

// givenHostKey reads a host key that the operator created. Its group may have read
// access, as with a mounted Secret.
func givenHostKey(path string) (*sealer, error) {
	key, err := readHostKey(path, 0o037)
	if err != nil {
		return nil, err
	}
	return newSealer(key)
}

// readHostKey refuses a file whose mode has any of the bits in refuse.
func readHostKey(path string, refuse fs.FileMode) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, host.E(host.Invalid, "state.open", "host key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, host.E(host.Invalid, "state.open", "host key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&refuse != 0 {
		return nil, host.E(host.Invalid, "state.open", "host key %s has mode %v; it must be a file with mode %04o or less", path, mode, 0o640&^refuse)
	}
	key, err := io.ReadAll(io.LimitReader(f, hostKeySize+1))
	if err != nil {
		return nil, host.E(host.Invalid, "state.open", "host key: %w", err)
	}
	if len(key) != hostKeySize {
		return nil, host.E(host.Invalid, "state.open", "host key %s must contain exactly %d bytes", path, hostKeySize)
	}
	return key, nil
}

// createHostKey creates the file atomically.
func createHostKey(path string) ([]byte, error) {
	key := make([]byte, hostKeySize)
	rand.Read(key)
	f, err := os.CreateTemp(filepath.Dir(path), "host.key-") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return key, os.Link(f.Name(), path)
}

// sealer encrypts and decrypts records with a key derived from the host key.
type sealer struct {
	aead    cipher.AEAD
	hostKey []byte
}

func newSealer(hostKey []byte) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, hostKey, nil, "bulkhead state records v1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sealer{aead, hostKey}, err
}

// derive returns the 32 bytes of a purpose.
func derive(hostKey []byte, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, hostKey, nil, "bulkhead derived key v1 "+purpose, 32)
}

// DeriveKey returns 32 bytes that only holders of the host key can compute, and that differ
// for each purpose.
func (s *Store) DeriveKey(purpose string) ([]byte, error) { return derive(s.seal.hostKey, purpose) }

// DeriveKey is Store.DeriveKey for a host that may not run: cfg is its configuration.
func DeriveKey(cfg *Config, purpose string) ([]byte, error) {
	path, refuse := cfg.KeyFile, fs.FileMode(0o037)
	if path == "" {
		path, refuse = filepath.Join(cfg.Dir, hostKeyName), 0o077
	}
	key, err := readHostKey(path, refuse)
	if err != nil {
		return nil, err
	}
	return derive(key, purpose)
}

// seal encrypts v and binds it to the store's key at: a record that is copied to
// another key cannot be decrypted there.
func (s *sealer) seal(at string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return string(s.aead.Seal(nil, nil, plain, []byte(at))), nil
}

func (s *sealer) open(at string, sealed []byte, v any) error {
	plain, err := s.aead.Open(nil, nil, sealed, []byte(at))
	if err != nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(plain)).Decode(v)
}

// Seal encrypts v, a JSON value, so that only holders of the host key, which are this
// host's replicas, can create or read the text. The text is base64url, fit for a URL.
// use names its purpose; a text of one use is invalid for another.
func (s *Store) Seal(use string, v any) (string, error) {
	sealed, err := s.seal.seal("sealed:"+use, v)
	return base64.RawURLEncoding.EncodeToString([]byte(sealed)), err
}

// Unseal decrypts a text of Seal into v. Its error is of kind Invalid if the text was
// not made by Seal for the same use.
func (s *Store) Unseal(use, text string, v any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = s.seal.open("sealed:"+use, sealed, v)
	}
	if err != nil {
		return &host.Error{Kind: host.Invalid, Op: "state.unseal", Message: "this value was not created by this host", Err: err}
	}
	return nil
}
