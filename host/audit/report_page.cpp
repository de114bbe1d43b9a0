// The shell of a report.
#include "host/audit/report_page.h"

#include "host/audit/report_text.h"

namespace quarry::report {

std::string page(const std::string& title, const std::string& body) {
  return std::string("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n") +
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
         "'unsafe-inline'; script-src '" +
         kScriptHash + "'; base-uri 'none'; form-action 'none'\">\n" +
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
         "<meta name=\"color-scheme\" content=\"light dark\">\n<title>" + escaped(title) +
         "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<main>\n" + body +
         "</main>\n<script>" + kScript + "</script>\n</body>\n</html>\n";
}

}  // namespace quarry::report
