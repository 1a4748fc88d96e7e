/* The one C++ file: libphonenumber behind plain C. */

#include <cstring>
#include <exception>
#include <string>

#include <phonenumbers/phonenumberutil.h>

#include "phone.h"

using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;


int
cx_phone_normalise(const char *text, const char *region,
                   char out[CX_PHONE_SIZE])
{
    try {
        PhoneNumberUtil *util = PhoneNumberUtil::GetInstance();
        PhoneNumber number;
        std::string e164;

        if (util->ParseAndKeepRawInput(text, region != NULL ? region : "ZZ",
                                       &number)
                != PhoneNumberUtil::NO_PARSING_ERROR
            || util->IsPossibleNumberWithReason(number)
                   != PhoneNumberUtil::IS_POSSIBLE) {
            return -1;
        }

        util->Format(number, PhoneNumberUtil::E164, &e164);

        if (e164.size() < 2 || e164.size() >= CX_PHONE_SIZE) {
            return -1;
        }

        std::memcpy(out, e164.c_str(), e164.size() + 1);
        return 0;

    } catch (const std::exception &) {
        return -1;
    }
}


/* -1: not a number. */
static int
read_e164(const char *e164, PhoneNumber *number)
{
    return PhoneNumberUtil::GetInstance()->Parse(e164, "ZZ", number)
                   == PhoneNumberUtil::NO_PARSING_ERROR
               ? 0
               : -1;
}


int
cx_phone_region(const char *e164, char out[3])
{
    try {
        PhoneNumber number;
        std::string region;

        if (read_e164(e164, &number) != 0) {
            return -1;
        }

        /* of a number that is not known to be valid: the country's first */
        PhoneNumberUtil::GetInstance()->GetRegionCodeForNumber(number, &region);

        if (region.size() != 2 || region == "ZZ") {
            PhoneNumberUtil::GetInstance()->GetRegionCodeForCountryCode(
                number.country_code(), &region);
        }

        if (region.size() != 2 || region == "ZZ") {
            return -1;
        }

        std::memcpy(out, region.c_str(), 3);
        return 0;

    } catch (const std::exception &) {
        return -1;
    }
}


int
cx_phone_international(const char *e164, char out[CX_PHONE_READ_SIZE])
{
    try {
        PhoneNumber number;
        std::string text;

        if (read_e164(e164, &number) != 0) {
            return -1;
        }

        PhoneNumberUtil::GetInstance()->Format(
            number, PhoneNumberUtil::INTERNATIONAL, &text);

        if (text.empty() || text.size() >= CX_PHONE_READ_SIZE) {
            return -1;
        }

        std::memcpy(out, text.c_str(), text.size() + 1);
        return 0;

    } catch (const std::exception &) {
        return -1;
    }
}
