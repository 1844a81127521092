package probe

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// tcp connects, encrypts if asked to, sends, and waits until what has come back matches.
// With nothing to expect, being connected is enough.
type tcp struct {
	to     target
	tls    secrecy
	send   []byte
	expect *regexp.Regexp
}

func newTCP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err != nil {
		return nil, err
	}
	re, err := expression("expect", p.Expect)
	return tcp{to, s, []byte(p.Send), re}, err
}

func (a tcp) ask(ctx context.Context, r *health.Result) error {
	c, err := a.to.connect(ctx, "tcp")
	if err != nil {
		return err
	}
	defer c.Close()
	var rw io.ReadWriter = c
	if a.tls.mode != conf.TLSOff {
		if rw, err = a.tls.handshake(ctx, c, r); err != nil {
			return err
		}
	}
	if len(a.send) > 0 {
		if _, err := rw.Write(a.send); err != nil {
			return err
		}
	}
	// Reset at the end, unless what was sent may still be on its way.
	c.abort = len(a.send) == 0
	if a.expect == nil {
		return nil
	}
	c.abort = true
	return expect(rw, a.expect)
}

// maxMatched bounds the work on an answer that comes in small pieces: each is matched
// together with all before it.
const maxMatched = 16 << 20

// expect reads until re matches what has come so far.
func expect(r io.Reader, re *regexp.Regexp) error {
	got := make([]byte, 0, 4096)
	for work := 0; ; {
		if len(got) == cap(got) {
			got = append(got, 0)[:len(got)]
		}
		n, err := r.Read(got[len(got):cap(got)])
		got = got[:len(got)+n]
		if n > 0 && re.Match(got) {
			return nil
		}
		work += len(got)
		switch {
		case errors.Is(err, io.EOF) && len(got) > 0:
			return fail(health.WhyContent, "the answer does not match %s: %s", quote(re.String()), quote(got))
		case errors.Is(err, os.ErrDeadlineExceeded) && len(got) > 0:
			return fail(health.WhyTimeout, "nothing in time that matches %s, but %s", quote(re.String()), quote(got))
		case err != nil:
			return err
		case len(got) >= maxAnswer || work >= maxMatched:
			return fail(health.WhyTooLong, "no match for %s in the first %d bytes", quote(re.String()), len(got))
		}
	}
}
