package probe

import (
	"github.com/dirigo-lb/dirigo/health"
)

// What LDAP needs of ASN.1's Basic Encoding Rules (X.690; RFC 4511 section 5.1: definite
// lengths, tags of one byte). Lengths may have more bytes than they need: Active
// Directory always writes four.
const (
	berBoolean    = 0x01
	berInteger    = 0x02
	berOctets     = 0x04
	berEnumerated = 0x0a
	berSequence   = 0x30
	berSet        = 0x31
	berLong       = 0x80 // of a first length byte: the number of those that follow
)

// ber writes one element whose content is the parts together.
func ber(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := []byte{tag, byte(n)}
	if n >= berLong {
		b = []byte{tag, berLong + 4, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// berInt writes a number from 0 to 127.
func berInt(tag byte, n int) []byte { return []byte{tag, 1, byte(n)} }

// takeBER reads the element at the beginning of b, which must have that tag.
func takeBER(b []byte, tag byte) (content, rest []byte, err error) {
	if len(b) < 2 || b[0] != tag {
		return nil, nil, fail(health.WhyProtocol, "not LDAP: want tag %#x in %s", tag, quote(b))
	}
	n, head := int(b[1]), 2
	if n >= berLong {
		if head += n - berLong; head == 2 || head > 6 || len(b) < head {
			return nil, nil, fail(health.WhyProtocol, "not LDAP: a length of %d bytes", head-2)
		}
		n = bigEndian(b[2:head])
	}
	if n > len(b)-head {
		return nil, nil, fail(health.WhyProtocol, "not LDAP: %d bytes where %d are left", n, len(b)-head)
	}
	return b[head : head+n], b[head+n:], nil
}

// berMessage reads one LDAPMessage and returns its content.
func (k *talk) berMessage() ([]byte, error) {
	h, err := k.frame(2)
	if err != nil {
		return nil, err
	}
	n := int(h[1])
	if h[0] != berSequence || n == berLong || n > berLong+4 {
		return nil, fail(health.WhyProtocol, "not LDAP: %s", quote(h))
	}
	if n > berLong {
		if h, err = k.frame(n - berLong); err != nil {
			return nil, err
		}
		n = bigEndian(h)
	}
	return k.frame(n)
}

// bigEndian reads up to four bytes.
func bigEndian(b []byte) int {
	n := 0
	for _, v := range b {
		n = n<<8 | int(v)
	}
	return n
}
