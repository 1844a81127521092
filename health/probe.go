package health

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dirigo-lb/dirigo/conf"
)

// Target is whom a Probe asks. It is comparable: equal Probes of equal Targets are one.
type Target struct {
	Addr    netip.Addr      // where the probe goes, after the probe's own address and the way are settled
	Port    uint16          // 0 where the type has none
	Service conf.ServiceKey // zero unless the probe goes by the service, or is told of it (external)
	Server  conf.ServerID   // likewise
}

// A Prober asks one question of one target again and again. It is not used by two
// goroutines at a time.
type Prober interface {
	// Probe asks once. It ends soon after ctx does, with every descriptor, process and
	// goroutine of the attempt gone; ctx has the probe's timeout.
	Probe(ctx context.Context) Result
}

// Result is one answer.
type Result struct {
	At        time.Time     // when the question was asked
	Took      time.Duration // until the answer was complete, or given up
	OK        bool
	Why       Why    // of a bad answer; WhyNone of a good one
	Text      string // the same for people: "connection refused", "status 503, want 200-299"
	Warning   string // of a good answer: a certificate that ends soon
	Weight    int    // weight the target asks for, if HasWeight
	HasWeight bool
}

// maxText is the most bytes of a Result's text: it is kept for each target, and for each
// event of the history.
const maxText = 400

// Plain gives what a Result may say: errors quote servers, by a certificate's name, a
// header's line or a name of DNS, so it is cut short and has nothing that could upset a
// terminal or a log.
func Plain(text string) string {
	cut := ""
	if len(text) > maxText {
		text, cut = text[:maxText], "..."
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text) + cut
}

// Why is the kind of a bad answer: a metric's label and a test's expectation.
type Why string

// The kinds of bad answers.
const (
	WhyNone        Why = ""
	WhyRefused     Why = "refused"     // TCP reset or ICMP port unreachable
	WhyUnreachable Why = "unreachable" // no route, host unreachable, no neighbour
	WhyTimeout     Why = "timeout"     // no whole answer in time
	WhyClosed      Why = "closed"      // ended before the answer was complete
	WhyResolve     Why = "resolve"     // a name that does not resolve
	WhyTLS         Why = "tls"         // handshake or certificate
	WhyExpired     Why = "expired"     // certificate expired, with Verify
	WhyStatus      Why = "status"      // the protocol's own status says no
	WhyContent     Why = "content"     // the answer is not the one expected
	WhyProtocol    Why = "protocol"    // not the protocol at all
	WhyTooLong     Why = "too_long"    // an answer without end
	WhyLogin       Why = "login"       // user or password refused
	WhyExit        Why = "exit"        // a script's exit status
	WhyMissing     Why = "missing"     // a script or file is not there
	WhyPassive     Why = "passive"     // clients' own connections; no prober says it
	WhyLocal       Why = "local"       // the director itself could not ask: no descriptors, no memory
)

// certain reports whether a bad answer says the same however late it is heard: not one
// that waiting too long gives as well.
func (w Why) certain() bool {
	switch w {
	case WhyRefused, WhyStatus, WhyContent, WhyTooLong, WhyLogin, WhyExpired, WhyMissing:
		return true
	}
	return false
}

// ErrLocal is wrapped by errors of the director's own side, so that they count as WhyLocal.
var ErrLocal = errors.New("the director cannot ask")
