package probe

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"

	"github.com/dirigo-lb/dirigo/health"
)

// The login plugins known here: MySQL's and MariaDB's defaults, and the plain password
// for an encrypted connection.
const (
	mysqlNative = "mysql_native_password"
	mysqlSHA2   = "caching_sha2_password"
	mysqlClear  = "mysql_clear_password"
)

// What caching_sha2_password says between login and verdict.
const (
	sha2KeyWanted = 2 // to the server
	sha2Known     = 3 // from it: the digest was in its cache
	sha2Full      = 4 // it wants the password itself
)

// authenticate sends the login and follows the server until it says yes or no.
func (m *mysqlTalk) authenticate(login []byte, g greeting, a *mysql) error {
	plugin, nonce := g.plugin, g.nonce
	answer, err := m.prove(plugin, nonce, a)
	if err != nil { // the server will name the plugin that the user has
		plugin = mysqlNative
		answer, _ = m.prove(plugin, nonce, a)
	}
	b := append(append(bytes.Clone(login), a.user...), 0, byte(len(answer)))
	b = append(b, answer...)
	if a.database != "" {
		b = append(append(b, a.database...), 0)
	}
	if err := m.send(append(append(b, plugin...), 0)); err != nil {
		return err
	}
	for range 8 { // a login has at most four turns
		if b, err = m.packet(); err != nil {
			return err
		}
		switch b[0] {
		case mysqlOK:
			return nil
		case mysqlError:
			return mysqlErrorOf(b, health.WhyStatus)
		case mysqlEOF: // Protocol::AuthSwitchRequest
			name, data, ok := bytes.Cut(b[1:], []byte{0})
			if !ok {
				return fail(health.WhyLogin, "the server wants the passwords of MySQL before 4.1")
			}
			plugin, nonce = string(name), bytes.TrimSuffix(data, []byte{0})
			if answer, err = m.prove(plugin, nonce, a); err != nil && a.user != "" {
				return err
			}
			err = m.send(answer)
		case mysqlMoreData:
			err = m.moreSHA2(b[1:], nonce, a.password)
		default:
			return fail(health.WhyProtocol, "not an answer to a MySQL login: %s", quote(b))
		}
		if err != nil {
			return err
		}
	}
	return fail(health.WhyProtocol, "a MySQL login without end")
}

// prove is what a plugin sends first.
func (m *mysqlTalk) prove(plugin string, nonce []byte, a *mysql) ([]byte, error) {
	switch {
	case plugin == mysqlClear && m.secret:
		return append([]byte(a.password), 0), nil
	case plugin != mysqlNative && plugin != mysqlSHA2:
		return nil, fail(health.WhyLogin, "the server wants the login plugin %s, which is not known here", quote(plugin))
	case a.password == "":
		return nil, nil
	case plugin == mysqlNative: // SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password)))
		one := sha1.Sum([]byte(a.password))
		two := sha1.Sum(one[:])
		mask := sha1.Sum(append(bytes.Clone(nonce), two[:]...))
		return xor(one[:], mask[:]), nil
	}
	// SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce)
	one := sha256.Sum256([]byte(a.password))
	two := sha256.Sum256(one[:])
	mask := sha256.Sum256(append(two[:], nonce...))
	return xor(one[:], mask[:]), nil
}

// moreSHA2 is the rest of caching_sha2_password: a password that the server has not seen
// lately goes as it is over TLS, and encrypted for the server's key over a plain
// connection.
func (m *mysqlTalk) moreSHA2(said, nonce []byte, password string) error {
	word := append([]byte(password), 0)
	switch {
	case len(said) == 1 && said[0] == sha2Known:
		return nil
	case len(said) == 1 && said[0] == sha2Full && m.secret:
		return m.send(word)
	case len(said) == 1 && said[0] == sha2Full:
		return m.send([]byte{sha2KeyWanted})
	}
	block, _ := pem.Decode(said)
	if block == nil || len(nonce) == 0 {
		return fail(health.WhyProtocol, "not a step of a MySQL login: %s", quote(said))
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	public, ok := key.(*rsa.PublicKey)
	if err != nil || !ok {
		return fail(health.WhyProtocol, "not a MySQL server's key: %v", err)
	}
	secret, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, xor(word, nonce), nil)
	if err != nil {
		return fail(health.WhyProtocol, "the MySQL server's key: %v", err)
	}
	return m.send(secret)
}

// xor combines a with a mask that repeats.
func xor(a, mask []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ mask[i%len(mask)]
	}
	return out
}
