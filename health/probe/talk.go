package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// maxLine bounds a line of a text protocol: many times what their RFCs allow (SMTP 512
// bytes, IMAP 8 KiB advised).
const maxLine = 16 << 10

// talk is one conversation with a server that speaks in lines or in frames, encrypted or
// not.
type talk struct {
	conn *conn
	net.Conn
	*bufio.Reader
}

// open connects over TCP; with TLS from the first byte, if s says so. The talk is the
// caller's to Close.
func (t target) open(ctx context.Context, s *secrecy, r *health.Result) (*talk, error) {
	c, err := t.connect(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	k := &talk{conn: c, Conn: c, Reader: bufio.NewReader(c)}
	if s.mode == conf.TLSOn {
		if err := k.encrypt(ctx, s, r); err != nil {
			k.Close()
			return nil, err
		}
	}
	return k, nil
}

// encrypt begins TLS. What the server said before it in plain text is not trusted after
// it: bytes still unread are an attack or a broken server (RFC 3207 section 4.2).
func (k *talk) encrypt(ctx context.Context, s *secrecy, r *health.Result) error {
	if n := k.Buffered(); n > 0 {
		return fail(health.WhyProtocol, "%d bytes before the TLS handshake", n)
	}
	c, err := s.handshake(ctx, k.conn, r)
	if err != nil {
		return err
	}
	k.Conn = c
	k.Reset(c)
	return nil
}

// Both halves have these two; the reader is the buffered one.
func (k *talk) Read(b []byte) (int, error) { return k.Reader.Read(b) }
func (k *talk) Close() error               { return k.conn.Close() }

// line reads one line, without its end.
func (k *talk) line() (string, error) {
	var long []byte
	for {
		part, err := k.ReadSlice('\n')
		if err == nil && long == nil {
			return strings.TrimRight(string(part), "\r\n"), nil
		}
		long = append(long, part...)
		if err == nil {
			return strings.TrimRight(string(long), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(long) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		if len(long) > maxLine {
			return "", fail(health.WhyTooLong, "a line without end: %s", quote(long))
		}
	}
}

// say sends one line.
func (k *talk) say(format string, args ...any) error {
	_, err := fmt.Fprintf(k.Conn, format+"\r\n", args...)
	return err
}

// frame reads n bytes of a binary protocol. The length is the server's claim, so memory
// follows what really comes.
func (k *talk) frame(n int) ([]byte, error) {
	if n > maxAnswer {
		return nil, fail(health.WhyTooLong, "a message of %d bytes", n)
	}
	var b []byte
	for len(b) < n {
		had := len(b)
		b = append(b, make([]byte, min(n-had, 4096))...)
		if _, err := io.ReadFull(k.Reader, b[had:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// reply reads one reply of SMTP or FTP: three digits, and a line of the same digits with a
// space that ends those with a hyphen (RFC 5321 section 4.2.1, RFC 959 section 4.2).
func (k *talk) reply() (code, text string, err error) {
	for {
		line, err := k.line()
		if err != nil {
			return "", "", err
		}
		if code == "" {
			if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" || line[0] < '1' || line[0] > '5' ||
				len(line) > 3 && line[3] != ' ' && line[3] != '-' {
				return "", "", fail(health.WhyProtocol, "not a reply: %s", quote(line))
			}
			code, text = line[:3], line
		}
		if line == code || strings.HasPrefix(line, code+" ") {
			return code, text, nil
		}
	}
}

// want has the next reply begin with one of the codes; why is the kind of failure if not.
func (k *talk) want(what string, why health.Why, codes ...string) (string, error) {
	code, text, err := k.reply()
	if err != nil {
		return "", err
	}
	for _, c := range codes {
		if strings.HasPrefix(code, c) {
			return code, nil
		}
	}
	return code, fail(why, "%s: %s", what, quote(text))
}

// command says one and wants one of the codes. A password in it stays out of the text.
func (k *talk) command(line string, why health.Why, codes ...string) error {
	if err := k.say("%s", line); err != nil {
		return err
	}
	verb, _, _ := strings.Cut(line, " ")
	_, err := k.want(verb, why, codes...)
	return err
}

// lineSafe refuses what cannot stand in a line protocol: the end of a line would begin
// another command.
func lineSafe(key string, words ...string) error {
	for _, w := range words {
		if strings.ContainsAny(w, "\r\n\x00") {
			return fmt.Errorf("%s: holds the end of a line", key)
		}
	}
	return nil
}

// nulSafe refuses what cannot stand in a protocol whose words end with a NUL byte.
func nulSafe(key string, words ...string) error {
	for _, w := range words {
		if strings.Contains(w, "\x00") {
			return fmt.Errorf("%s: holds a NUL byte", key)
		}
	}
	return nil
}
