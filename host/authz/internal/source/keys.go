package source

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/keys"
)

// algorithm returns the signature algorithm for the key in text: the given one, which must fit
// the key, or the usual one for its type. A PEM file is never used as a secret, because a
// public key is not secret.
func algorithm(text []byte, private bool, given string) (string, error) {
	block, _ := pem.Decode(text)
	secret := strings.HasPrefix(given, "HS")
	switch {
	case given != "" && !keys.IsSupportedAlgorithm(given):
		return "", fmt.Errorf("the algorithm %s is not supported", given)
	case block == nil && secret:
		return given, nil
	case block == nil:
		return "", errors.New("the key is not PEM; a secret needs the algorithm HS256, HS384 or HS512")
	}
	key, err := parseKey(block)
	if err != nil {
		return "", err
	}
	signer, signs := key.(crypto.Signer)
	switch {
	case private && !signs:
		return "", errors.New("the key is public; signing requires the private key")
	case !private && signs:
		return "", errors.New("the key is private; verifying requires the public key")
	case signs:
		key = signer.Public()
	}
	kind, fit := algorithms(key)
	switch {
	case len(fit) == 0:
		return "", fmt.Errorf("the key is %s; bundles are signed with RSA, EC P-256, P-384 or P-521", kind)
	case given == "":
		return fit[0], nil
	case !slices.Contains(fit, given):
		return "", fmt.Errorf("the key is %s and does not fit the algorithm %s; use %s, or omit the algorithm", kind, given, strings.Join(fit, " or "))
	}
	return given, nil
}

func parseKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("the file begins with PEM of the type %q, which is not a key", block.Type)
}

// algorithms returns the kind of a public key and its signature algorithms (RFC 7518), the
// usual one first.
func algorithms(key any) (kind string, fit []string) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return "RSA", []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		name := key.Curve.Params().Name
		of := map[string][]string{"P-256": {"ES256"}, "P-384": {"ES384"}, "P-521": {"ES512"}}
		return "EC " + name, of[name]
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", key), "*"), nil
}
