package httpadapter

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	jsonType = "application/json"
	xmlType  = "application/xml"
)

// mediaOf returns the path without its suffix, and the media type of the answer: by the suffix if
// there is one, else by Accept, else JSON. It is "" if Accept admits neither JSON nor XML.
func mediaOf(r *http.Request) (path, media string) {
	path = strings.TrimSuffix(r.URL.Path, "/")
	if path, ok := strings.CutSuffix(path, ".json"); ok {
		return path, jsonType
	}
	if path, ok := strings.CutSuffix(path, ".xml"); ok {
		return path, xmlType
	}
	return path, acceptable(r.Header.Values("Accept"))
}

// acceptable chooses by RFC 9110 section 12.5.1: the most specific range decides for each type, the
// greater quality wins, and JSON if they are equal. Ranges that cannot be parsed are ignored.
func acceptable(accept []string) string {
	ranges := strings.Split(strings.Join(accept, ","), ",")
	if strings.TrimSpace(strings.Join(accept, "")) == "" {
		return jsonType
	}
	json, xml := quality(ranges, jsonType), quality(ranges, xmlType)
	switch {
	case json == 0 && xml == 0:
		return ""
	case xml > json:
		return xmlType
	}
	return jsonType
}

func quality(ranges []string, media string) (q float64) {
	best := -1
	for _, text := range ranges {
		name, params, err := mime.ParseMediaType(strings.TrimSpace(text))
		if err != nil {
			continue
		}
		specific := slices.Index([]string{"*/*", "application/*", media}, name)
		if specific <= best {
			continue
		}
		weight := 1.0
		if text, ok := params["q"]; ok {
			if weight, err = strconv.ParseFloat(text, 64); err != nil || !(weight >= 0 && weight <= 1) {
				continue
			}
		}
		best, q = specific, weight
	}
	return q
}
