package probe

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// radius sends an Access-Request with the user's password (RFC 2865), or Status-Server if
// no user is named (RFC 5997), and wants Access-Accept. The answer's authenticator is
// checked, so an answer proves that the server knows the secret.
type radius struct {
	to             target
	user, password string
	secret         []byte
}

// Codes and attributes: RFC 2865 sections 3 and 5, RFC 3579 section 3.2, RFC 5997 section 3.
const (
	radiusAccessRequest   = 1
	radiusAccessAccept    = 2
	radiusAccessReject    = 3
	radiusChallenge       = 11
	radiusStatusServer    = 12
	radiusUserName        = 1
	radiusUserPassword    = 2
	radiusNASIdentifier   = 32
	radiusMessageAuth     = 80
	radiusHeader          = 20 // code, identifier, length, authenticator
	radiusMaxPassword     = 128
	radiusMaxAttribute    = 253
	radiusAuthenticatorAt = 4
)

func newRADIUS(p *conf.Probe, to target) (asker, error) {
	if p.Secret == "" {
		return nil, fmt.Errorf("no secret")
	}
	if len(p.User) > radiusMaxAttribute || len(p.Password) > radiusMaxPassword {
		return nil, fmt.Errorf("user or password: longer than RADIUS allows (%d and %d bytes)", radiusMaxAttribute, radiusMaxPassword)
	}
	return radius{to, p.User, p.Password, []byte(p.Secret)}, nil
}

func (a radius) ask(ctx context.Context, r *health.Result) error {
	request := a.request()
	return a.to.datagrams(ctx, request, func(b []byte) (bool, error) { return a.judge(b, request) })
}

// request writes one with a new identifier and authenticator.
func (a radius) request() []byte {
	b := make([]byte, radiusHeader, 256)
	rand.Read(b[1:])
	attribute := func(kind byte, value []byte) { b = append(append(b, kind, byte(len(value)+2)), value...) }
	b[0] = radiusStatusServer
	if a.user != "" {
		b[0] = radiusAccessRequest
		attribute(radiusUserName, []byte(a.user))
		attribute(radiusUserPassword, hidePassword(a.password, a.secret, b[radiusAuthenticatorAt:radiusHeader]))
	}
	attribute(radiusNASIdentifier, []byte("dirigo"))
	attribute(radiusMessageAuth, make([]byte, md5.Size))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	mac := hmac.New(md5.New, a.secret) // RFC 3579 section 3.2: over the packet with zeros in its place
	mac.Write(b)
	copy(b[len(b)-md5.Size:], mac.Sum(nil))
	return b
}

// hidePassword is RFC 2865 section 5.2.
func hidePassword(password string, secret, authenticator []byte) []byte {
	hidden := make([]byte, max(md5.Size, (len(password)+md5.Size-1)/md5.Size*md5.Size))
	copy(hidden, password)
	last := authenticator
	for i := 0; i < len(hidden); i += md5.Size {
		mask := md5.Sum(append(append([]byte(nil), secret...), last...))
		for j := range mask {
			hidden[i+j] ^= mask[j]
		}
		last = hidden[i : i+md5.Size]
	}
	return hidden
}

// judge reads one answer. Another identifier is that of an older question.
func (a radius) judge(b, request []byte) (done bool, err error) {
	if len(b) < radiusHeader || int(binary.BigEndian.Uint16(b[2:])) < radiusHeader || int(binary.BigEndian.Uint16(b[2:])) > len(b) {
		return false, fail(health.WhyProtocol, "not RADIUS: %s", quote(b))
	}
	if b[1] != request[1] {
		return false, nil
	}
	b = b[:binary.BigEndian.Uint16(b[2:])] // octets beyond it are padding
	sum := md5.New()                       // Response Authenticator: RFC 2865 section 3
	sum.Write(b[:radiusAuthenticatorAt])
	sum.Write(request[radiusAuthenticatorAt:radiusHeader])
	sum.Write(b[radiusHeader:])
	sum.Write(a.secret)
	if !bytes.Equal(sum.Sum(nil), b[radiusAuthenticatorAt:radiusHeader]) {
		return false, fail(health.WhyLogin, "the answer is made with another secret")
	}
	switch b[0] {
	case radiusAccessAccept:
		return true, nil
	case radiusAccessReject:
		return false, fail(health.WhyLogin, "Access-Reject")
	case radiusChallenge:
		return false, fail(health.WhyLogin, "Access-Challenge: the user needs more than a password")
	}
	return false, fail(health.WhyStatus, "answer code %d, want Access-Accept", b[0])
}
