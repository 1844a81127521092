package probe

import (
	"context"
	"errors"
	"os"
	"regexp"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// udp sends one datagram. Without an expectation silence is as good as an answer, and
// only an ICMP error is bad, as with keepalived's UDP_CHECK: the probe then takes all its
// time. A target on the link that answers no ARP is an error only after the kernel's three
// attempts, one a second: a shorter timeout does not see it.
type udp struct {
	to     target
	send   []byte
	expect *regexp.Regexp
}

func newUDP(p *conf.Probe, to target) (asker, error) {
	re, err := expression("expect", p.Expect)
	return udp{to, []byte(p.Send), re}, err
}

func (a udp) ask(ctx context.Context, r *health.Result) error {
	var got []byte
	err := a.to.datagrams(ctx, a.send, func(b []byte) (bool, error) { got = b; return true, nil })
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && a.expect == nil && ctx.Err() != context.Canceled:
		return nil
	case err != nil:
		return err
	case a.expect != nil && !a.expect.Match(got):
		return fail(health.WhyContent, "the answer does not match %s: %s", quote(a.expect.String()), quote(got))
	}
	return nil
}

// datagrams connects over UDP for one exchange.
func (t target) datagrams(ctx context.Context, send []byte, take func([]byte) (done bool, err error)) error {
	c, err := t.connect(ctx, "udp")
	if err != nil {
		return err
	}
	defer c.Close()
	return c.datagrams(send, take)
}

// datagrams sends one and hands over those that come back until take is done with them:
// what belongs to an older question is passed over.
func (c *conn) datagrams(send []byte, take func([]byte) (done bool, err error)) error {
	if _, err := c.Write(send); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if done, err := take(buf[:n]); done || err != nil {
			return err
		}
	}
}
