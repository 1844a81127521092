package probe

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/health"
)

const scramName = "SCRAM-SHA-256"

// maxIterations bounds the work that a server can ask for: about 0.3 s.
const maxIterations = 1 << 20

// scram is the client's half of SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677).
// Passwords go in as they are written: one with characters that SASLprep changes has to be
// written in its prepared form.
type scram struct {
	nonce, message string // ours; client-first-message-bare, server-first-message, ...
	server         []byte // the signature that proves the server
	salt           string
	iterations     int
	salted         []byte // of these two; costly
}

func (s *scram) first() string {
	s.nonce = rand.Text()
	s.message, s.server = "n=,r="+s.nonce, nil // PostgreSQL takes the name of the start-up message
	return "n,," + s.message
}

// final answers server-first-message.
func (s *scram) final(said, password string) (string, error) {
	f := strings.Split(said, ",")
	if s.nonce == "" || len(f) < 3 || !strings.HasPrefix(f[0], "r="+s.nonce) || f[0] == "r="+s.nonce ||
		!strings.HasPrefix(f[1], "s=") || !strings.HasPrefix(f[2], "i=") {
		return "", fail(health.WhyProtocol, "not a step of %s: %s", scramName, quote(said))
	}
	salt, err1 := base64.StdEncoding.DecodeString(f[1][2:])
	n, err2 := strconv.Atoi(f[2][2:])
	if err1 != nil || err2 != nil || n < 1 || n > maxIterations {
		return "", fail(health.WhyProtocol, "not a step of %s: %s", scramName, quote(said))
	}
	if s.salted == nil || s.salt != string(salt) || s.iterations != n {
		salted, err := pbkdf2.Key(sha256.New, password, salt, n, sha256.Size)
		if err != nil {
			return "", err
		}
		s.salt, s.iterations, s.salted = string(salt), n, salted
	}
	without := "c=biws," + f[0] // "biws" is "n,,": no channel binding
	s.message += "," + said + "," + without
	client := mac(s.salted, "Client Key")
	stored := sha256.Sum256(client)
	s.server = mac(mac(s.salted, "Server Key"), s.message)
	proof := xor(client, mac(stored[:], s.message))
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify reads server-final-message.
func (s *scram) verify(said string) error {
	if s.server == nil || said != "v="+base64.StdEncoding.EncodeToString(s.server) {
		return fail(health.WhyLogin, "the server does not know the password: %s", quote(said))
	}
	return nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
