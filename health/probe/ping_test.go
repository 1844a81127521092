package probe

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
)

func TestPing(t *testing.T) {
	noLeaks(t)
	for _, at := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		wantGood(t, ask(t, conf.Probe{Type: conf.ProbePing}, netip.AddrPortFrom(netip.MustParseAddr(at), 0), enough))
	}
}

// Raw sockets hear of each other's echoes: many at once still take only their own.
func TestManyPingsAtOnce(t *testing.T) {
	noLeaks(t)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			wantGood(t, ask(t, conf.Probe{Type: conf.ProbePing}, netip.MustParseAddrPort("127.0.0.1:0"), enough))
		})
	}
	all.Wait()
}

// What is not the reply to this request: RFC 792's echo reply carries identifier, sequence
// number and data of the request.
func TestOtherRepliesArePassedOver(t *testing.T) {
	sent := []byte{8, 0, 0, 0, 1, 2, 3, 4, 'c', 'o', 'o', 'k', 'i', 'e', '0', '1'}
	good := bytes.Clone(sent)
	good[0] = echoReply4
	if !isReply(good, sent, echoReply4) || !isReply(append(good, 0, 0), sent, echoReply4) {
		t.Error("the reply is not taken")
	}
	for i := range good {
		if i == 2 || i == 3 { // checksum: the kernel's
			continue
		}
		other := bytes.Clone(good)
		other[i] ^= 1
		if isReply(other, sent, echoReply4) {
			t.Errorf("a reply with another byte %d is taken", i)
		}
	}
	if isReply(sent, sent, echoReply4) || isReply(good[:15], sent, echoReply4) || isReply(nil, sent, echoReply4) {
		t.Error("the request, or a part of the reply, is taken")
	}
}
