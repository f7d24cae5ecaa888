import type { ReactNode } from "react";
import type { Payment } from "../../../merchant-sdk/model.ts";

export const Ask = (_props: { payment: Payment }): ReactNode => null;
