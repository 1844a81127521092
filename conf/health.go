package conf

import (
	"net/netip"
	"time"
)

// Probe is a question to a target and what counts as a good answer. It is comparable:
// checks whose Probe and target are equal share one probe. Fields that a type does not use
// are zero; Validate refuses them in a file.
type Probe struct {
	Type    ProbeType
	Via     Via
	Addr    netip.Addr // asked instead of the server's own address; invalid: the server's
	Port    uint16     // 0: the server's, else the service's, else the type's standard port
	Timeout time.Duration

	Send         string // tcp, udp: bytes sent first (after C-style escapes)
	Expect       string // tcp, udp: regular expression (RE2) over what comes back; "": connected is enough, or no refusal
	Path         string // http, https: request target; grpc: service name; fastcgi: script; file: path of the file
	Method       string // http, https: "GET" unless written
	Host         string // http, https: Host header; "": the target. smtp: HELO name
	Status       string // http, https, fastcgi: "200-299,301"; "": 200-299
	Body         string // http, https, fastcgi: regular expression over the body, first 1 MiB
	Digest       string // http, https: hex digest of the body; MD5 (32 digits, as genhash makes) or SHA-256 (64)
	HTTP         string // http, https: "1.0", "1.1" or "2"; "": 1.1, with https what ALPN gives
	Connection   string // http: "kept": by the connection of the last answer, but for some questions; "": each by a new one
	TLS          TLS
	Name         string // dns: the name asked for; "": the root. ldap: base DN. sip: address of record
	Record       string // dns: type, as "A"; "": SOA, as keepalived
	Transport    string // dns, sip: "udp" or "tcp"; "": udp, and dns again by tcp if the answer does not fit
	Answer       string // dns, ldap: regular expression that one answer must match; "": no error is enough
	User         string // ftp, imap, pop, ldap, mysql, pgsql, redis, radius: login; "": only the greeting is asked for
	Password     string
	PasswordFile string // its first line is the password, in place of Password
	Secret       string // radius: shared secret
	SecretFile   string // its first line is the secret, in place of Secret
	Database     string // mysql, pgsql
	Query        string // mysql, pgsql: at least one row must come back; "": logging in is enough
	Command      string // script, external: argv, separated by NUL bytes, not for a shell
	Dynamic      bool   // script: exit status 2 to 255 sets the weight, as MISC_CHECK's misc_dynamic
}

// TLS says how a probe encrypts. Off but for https and types that say so.
type TLS struct {
	Mode   TLSMode
	Verify bool   // check the certificate; off by default, as keepalived and ldirectord
	CA     string // file of trusted certificates; "": the system's
	Cert   string // client certificate and key, PEM files
	Key    string
	Name   string        // SNI and the name to verify; "": Host, if it is a name
	Warn   time.Duration // a certificate that ends sooner is warned of; 0: never
}

// TLSMode is when a probe's encryption begins.
type TLSMode uint8

const (
	TLSOff      TLSMode = iota
	TLSOn               // from the first byte
	TLSStartTLS         // smtp, imap, pop, ftp, ldap: after the protocol's own command
)

// ProbeType names a kind of probe, as the file does.
type ProbeType string

// The probe types.
const (
	ProbeNone     ProbeType = "none" // always good
	ProbePing     ProbeType = "ping"
	ProbeTCP      ProbeType = "tcp"
	ProbeUDP      ProbeType = "udp"
	ProbeHTTP     ProbeType = "http"
	ProbeHTTPS    ProbeType = "https"
	ProbeDNS      ProbeType = "dns"
	ProbeSMTP     ProbeType = "smtp"
	ProbeIMAP     ProbeType = "imap"
	ProbePOP      ProbeType = "pop"
	ProbeFTP      ProbeType = "ftp"
	ProbeLDAP     ProbeType = "ldap"
	ProbeMySQL    ProbeType = "mysql"
	ProbePgSQL    ProbeType = "pgsql"
	ProbeRedis    ProbeType = "redis"
	ProbeRADIUS   ProbeType = "radius"
	ProbeSIP      ProbeType = "sip"
	ProbeFastCGI  ProbeType = "fastcgi"
	ProbeGRPC     ProbeType = "grpc"
	ProbeScript   ProbeType = "script"   // the exit status decides
	ProbeExternal ProbeType = "external" // a script with ldirectord's four arguments
	ProbeFile     ProbeType = "file"     // a file exists, and does not say "0" or "down"
)

// Via is the way a probe takes to its target.
type Via uint8

const (
	ViaServer  Via = iota // straight to the real server's address
	ViaService            // to the VIP, by the server's forwarding method, as a client's packets go
)

// HealthCheck is a probe of a real server and how often, and how many answers, it takes to
// believe it.
type HealthCheck struct {
	Label      string // "name" of the file; unique within a server; "": the type
	Probe      Probe
	Interval   time.Duration // between the starts of two probes in a settled state
	RetryDelay time.Duration // between probes while a change is not yet believed; 0: Interval
	Jitter     int           // percent of Interval, up or down, by which probes are spread
	Rise       int           // good answers in a row that bring a server up
	Fall       int           // bad answers in a row that take it down (keepalived: retry + 1)
	Window     Window        // in place of Fall if Of > 0
	Alpha      bool          // down until the first good answer
	Warmup     time.Duration // the first probe is at a random time within it
}

// Window takes a server down by Bad bad answers among the last Of.
type Window struct{ Bad, Of int }

// OnFailure is what becomes of a server that is down.
type OnFailure uint8

const (
	Remove  OnFailure = iota // taken out of the service, as ldirectord's quiescent = no
	Quiesce                  // stays with weight 0 (quiescent = yes, inhibit_on_failure)
)

// LiveConnections is what becomes of the connections of a server that went down.
type LiveConnections uint8

const (
	KeepConnections  LiveConnections = iota
	ResetConnections                 // entries end; TCP clients are reset with their next packet
)

// Health says how a service judges its servers and what follows. A Server may have its
// own Checks in place of the service's.
type Health struct {
	Checks      []HealthCheck
	OnFailure   OnFailure
	Connections LiveConnections
	Templates   LiveConnections // persistence templates that lead to a server that is down
	SlowStart   time.Duration   // a server that came up gets its weight little by little over it; 0: at once
	Flap        Flap
	Passive     Passive
	Quorum      int // Σ weight of servers that are up, below which the service is down; default 1
	Hysteresis  int // as keepalived's
	Sorry       *Server
	// SorryKeep has the sorry server stand in the list always, with weight 0 while it is not
	// needed. Without it the server is removed then, and packets of its connections are
	// dropped from then on (ip_vs_in_hook of the kernel: the destination is not available).
	// A file's default is to keep; keepalived's is to remove (no sorry_server_inhibit).
	SorryKeep bool
	Notify    Notify
}

// Flap holds a server down for Hold after Changes changes of state within Within.
type Flap struct {
	Changes      int // 0: off
	Within, Hold time.Duration
}

// Passive takes a sign of trouble from clients' own connections: within Window, at least
// Min new connections of which Percent were not answered or were reset count as one bad
// answer. Percent 0: off.
type Passive struct {
	Percent, Min int
	Window       time.Duration
}

// Notify says who is told of changes. Commands are argv separated by NUL bytes.
type Notify struct {
	Up, Down             string // of a server
	QuorumUp, QuorumDown string // of the service; run at start too, as keepalived does
	Any                  string // of either, with keepalived's FIFO words as arguments
	Webhook              string // URL that gets each event as JSON by POST
	Mail                 []string
	MailFrom, MailServer string
	MailEvery            time.Duration // at most one mail in it; what happened meanwhile is told together
}
