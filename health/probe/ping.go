package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"

	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// ping sends one echo request on a raw socket of its own and waits for its reply. A raw
// socket hears every reply that the target sends to this host, to other probes and to
// other programs: the identifier, the sequence number and eight random bytes tell them
// apart.
type ping struct {
	to  target
	id  uint16
	seq uint16
}

// ICMP types and offsets: RFC 792 page 14, RFC 4443 sections 4.1 and 4.2.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	echoHeader               = 8 // type, code, checksum, identifier, sequence number
	echoCookie               = 8
)

var lastPing atomic.Uint32

func newPing(to target) asker { return &ping{to: to, id: uint16(lastPing.Add(1))} }

func (a *ping) ask(ctx context.Context, r *health.Result) error {
	request, reply, network := byte(echoRequest4), byte(echoReply4), "icmp"
	if a.to.addr.Unmap().Is6() {
		request, reply, network = echoRequest6, echoReply6, "ipv6-icmp"
	}
	c, err := a.to.connect(ctx, network)
	if err != nil {
		return err
	}
	defer c.Close()
	a.seq++
	sent := make([]byte, echoHeader+echoCookie)
	sent[0] = request
	binary.BigEndian.PutUint16(sent[4:], a.id)
	binary.BigEndian.PutUint16(sent[6:], a.seq)
	rand.Read(sent[echoHeader:])
	if request == echoRequest4 { // of ICMPv6 the kernel makes it: RFC 3542 section 3.1
		binary.BigEndian.PutUint16(sent[2:], packet.Checksum(sent))
	}
	if _, err := c.Write(sent); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		got := buf[:n]
		if request == echoRequest4 {
			got = afterHeader(got)
		}
		if isReply(got, sent, reply) {
			return nil
		}
	}
}

// isReply says whether a packet answers what was sent.
func isReply(got, sent []byte, reply byte) bool {
	return len(got) >= len(sent) && got[0] == reply && got[1] == 0 && bytes.Equal(got[4:len(sent)], sent[4:])
}

// afterHeader is what follows the IPv4 header, which a raw socket gives with the packet
// (raw(7)).
func afterHeader(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b[min(len(b), int(b[0]&15)*4):]
}
