package ipvsadm

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

var slowNumber = regexp.MustCompile(`^[ \t\n\v\f\r]*([+-]?[0-9]+)`)

// slowStrtol is strtol(3)'s definition with numbers of any size.
func slowStrtol(s string) (v int64, rest string, ok, over bool) {
	m := slowNumber.FindStringSubmatch(s)
	if m == nil {
		return 0, "", false, false
	}
	n, _ := new(big.Int).SetString(m[1], 10)
	switch rest = s[len(m[0]):]; {
	case n.Cmp(big.NewInt(math.MaxInt64)) > 0:
		return math.MaxInt64, rest, true, true
	case n.Cmp(big.NewInt(math.MinInt64)) < 0:
		return math.MinInt64, rest, true, true
	}
	return n.Int64(), rest, true, false
}

func TestStrtolAgreesWithItsSlowTwin(t *testing.T) {
	inputs := []string{"", "-", "+", "+-1", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"-9223372036854775809", "99999999999999999999999", "-99999999999999999999999x", " \t\n\v\f\r5 ", "0x10", "007"}
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		b := make([]byte, rnd.IntN(24))
		for i := range b {
			b[i] = " \t+-0123456789999x"[rnd.IntN(17)]
		}
		inputs = append(inputs, string(b))
	}
	for _, in := range inputs {
		v, rest, ok, over := strtol(in)
		wv, wrest, wok, wover := slowStrtol(in)
		if ok != wok || ok && (v != wv || rest != wrest || over != wover) {
			t.Fatalf("%q: %d %q %v %v, want %d %q %v %v", in, v, rest, ok, over, wv, wrest, wok, wover)
		}
	}
}

func TestNamesThatCannotBeRead(t *testing.T) {
	broken := iotest.ErrReader(errors.New("disk on fire"))
	if _, err := ReadNames(broken, nil); err == nil || !strings.HasPrefix(err.Error(), "read hosts: ") {
		t.Errorf("hosts: %v", err)
	}
	if _, err := ReadNames(nil, broken); err == nil || !strings.HasPrefix(err.Error(), "read services: ") {
		t.Errorf("services: %v", err)
	}
	n, err := ReadNames(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := n.Host("localhost"); ok {
		t.Error("a host from nowhere")
	}
	if _, ok := new(Names).Service("http", 6); ok {
		t.Error("a service from nowhere")
	}
}

// Of equal keys the first line of a file wins, as in the C library.
func TestFirstNameWins(t *testing.T) {
	n := testNames(t)
	if s, _ := n.ServiceName(80, 6); s != "http" {
		t.Errorf("port 80 is %q", s)
	}
	if _, ok := n.ServiceName(80, 17); ok {
		t.Error("port 80 has a name in UDP")
	}
	if h, _ := n.HostName(addr("127.0.0.1")); h != "localhost" {
		t.Errorf("127.0.0.1 is %q", h)
	}
	if _, ok := n.HostName(addr("2001:db8::10")); ok {
		t.Error("an IPv6 address has a name")
	}
}
