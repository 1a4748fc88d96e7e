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
