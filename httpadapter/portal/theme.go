package portal

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
)

//go:embed assets
var embedded embed.FS

const (
	stylesheetName = "portal.css"
	scriptName     = "portal.js"
)

// An asset is a file that never changes under its version.
type asset struct {
	media   string
	version string // the beginning of its SHA-256
	body    []byte
}

func newAsset(media string, body []byte) asset {
	sum := sha256.Sum256(body)
	return asset{media, hex.EncodeToString(sum[:8]), body}
}

func newAssets(o *Options) map[string]asset {
	css := string(mustRead(stylesheetName))
	if o.Accent != "" {
		css += ":root { --accent: " + o.Accent + " }\n"
	}
	dark := o.AccentDark
	if dark == "" && o.Accent != "" {
		dark = defaultAccentDark // the rule above would override the style sheet's own
	}
	if dark != "" {
		css += "@media (prefers-color-scheme: dark) { :root { --accent: " + dark + " } }\n"
	}
	return map[string]asset{
		stylesheetName: newAsset("text/css; charset=utf-8", []byte(css+o.CSS)),
		scriptName:     newAsset("text/javascript; charset=utf-8", mustRead(scriptName)),
	}
}

// mustRead returns an embedded file.
func mustRead(name string) []byte {
	b, err := embedded.ReadFile("assets/" + name)
	if err != nil {
		panic(err)
	}
	return b
}

// contentSecurityPolicy lets the pages load their style sheet, their script and the logo, send
// forms here, and nothing else.
func contentSecurityPolicy(logo string) string {
	images := "'self'"
	if u, err := url.Parse(logo); err == nil && u.Host != "" {
		images += " https://" + u.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src " + images +
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
}

// The style sheet's colours around the accent: behind links, and as the text of buttons.
var (
	lightSurfaces = []string{"#ffffff", "#f2f4f7"}
	darkSurfaces  = []string{"#1a1f26", "#101317"}
)

const (
	defaultAccentDark = "#a8c7fa"
	minContrast       = 4.5 // WCAG 2.2, success criterion 1.4.3
)

// checkAccent admits "", for the default.
func checkAccent(color string, surfaces []string) error {
	if color == "" {
		return nil
	}
	if _, ok := luminance(color); !ok {
		return errors.New(`must be a colour such as "#0b57d0"`)
	}
	for _, s := range surfaces {
		if c := contrast(color, s); c < minContrast {
			return fmt.Errorf("must have a contrast of at least %v to %s, has %.2f", minContrast, s, c)
		}
	}
	return nil
}

// contrast is the contrast ratio of WCAG 2.2.
func contrast(a, b string) float64 {
	la, _ := luminance(a)
	lb, _ := luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// luminance is the relative luminance of WCAG 2.2 of a colour "#rrggbb".
func luminance(color string) (l float64, ok bool) {
	digits, ok := strings.CutPrefix(color, "#")
	rgb, err := strconv.ParseUint(digits, 16, 24)
	if !ok || err != nil || len(digits) != 6 {
		return 0, false
	}
	for i, weight := range []float64{0.0722, 0.7152, 0.2126} { // blue, green, red
		c := float64(rgb>>(8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		l += weight * c
	}
	return l, true
}
